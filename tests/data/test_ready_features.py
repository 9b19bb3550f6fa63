"""Ready-made negatives of morphology, and true and false completions of facts."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jaxinterp as ji

ROWS = [
    ("Dogs", "NOUN", "Number=Plur"),
    ("ran", "VERB", "Tense=Past"),
    ("home", "NOUN", "Number=Sing"),
    ("The", "DET", "_"),
    ("cat", "NOUN", "Number=Sing"),
    ("is", "AUX", "Tense=Pres"),
    ("seen", "VERB", "Tense=Past|Voice=Pass"),
]


def test_negatives_of_morphology(tmp_path: Path) -> None:
    lines = ["# newdoc id = a"]
    for i, (form, upos, feats) in enumerate(ROWS):
        number = i + 1 if i < 3 else i - 2
        lines += [""] * (i == 3) + [
            "\t".join((str(number), form, "_", upos, "_", feats, "0", "dep", "_", "_"))
        ]
    path = tmp_path / "a.conllu"
    path.write_text("\n".join(lines) + "\n\n")
    tokenizer = ji.hub.Tokenizer.from_file(Path(ji.__file__).parent / "_tiny" / "tokenizer.json")
    corpus = ji.data.pack(tokenizer, ji.data.features.read_conllu(path), ctx=32)

    def words(mask: np.ndarray) -> str:
        return "".join(tokenizer.tokens(np.asarray(corpus.tokens)[mask]))

    expected = {
        "Number=Plur": ("Dogs", " home cat"),
        "Tense=Past": (" ran seen", " is"),
        "Voice=Pass": (" seen", " ran is"),
        "first_eos": (" home", " seen"),
        "eos": (" home seen", "Dogs ran The cat is"),
    }
    for name, (yes, no) in expected.items():
        positive, negative = ji.data.features.morphology(corpus, name)
        assert (words(positive), words(negative)) == (yes, no), name
        assert not (positive & negative).any()
    with pytest.raises(ValueError, match="Person=3"):
        ji.data.features.morphology(corpus, "Person=3")


def test_true_and_false_completions() -> None:
    table = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}
    templates = ["The capital of {SUBJECT} is", "In {SUBJECT} lies"]
    found = ji.data.features.completions(table, templates, key=jax.random.key(0), false=2)
    assert len(found) == 18 and sum(bool(one.label) for one in found) == 6
    for one in found:
        subject, answer = (one.text[a:b] for a, b, _ in one.spans)
        assert one.group == subject and one.text.endswith(answer) and one.label == (table[subject] == answer)
    for wrong in (
        ({"a": "b"}, templates, 1),
        (table, ["no place"], 1),
        (table, templates, 3),
        (table, [], 1),
    ):
        with pytest.raises(ValueError, match="Templates"):
            ji.data.features.completions(*wrong[:2], key=jax.random.key(0), false=wrong[2])
