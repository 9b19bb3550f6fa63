"""The pictures of the tour that the README shows: `python docs/_tour_pictures.py` writes them to docs/pictures."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jaxinterp as ji  # noqa: E402
from jaxinterp.tour import CodedFigure, _generation, _induction  # noqa: E402

PICTURES = {
    "tour_copying.svg": (_induction.chapter, "Mean loss on random tokens"),
    "tour_steering.svg": (_generation.chapter, "How French the text is while the direction is added"),
}
"Names of files, the chapter of each, and the title of its figure."


def drawn() -> dict[str, str]:
    """The drawings by the names of their files."""
    model, tokenizer = ji.load("tiny")
    found = {}
    for name, (chapter, title) in PICTURES.items():
        body = chapter(model, tokenizer).body
        (figure,) = (each.figure for each in body if isinstance(each, CodedFigure) and each.title == title)
        found[name] = figure.svg
    return found


if __name__ == "__main__":
    for name, drawing in drawn().items():
        ji.viz.write(ROOT / "docs" / "pictures" / name, drawing)
        print(f"wrote docs/pictures/{name}")
