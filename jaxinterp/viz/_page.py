"""Chapters of text and figures as one HTML file."""

import dataclasses
import re
from collections.abc import Sequence

from ._figure import Figure, render
from ._text import plain


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A title and what stands below it: strings are paragraphs, figures are figures."""

    title: str
    body: Sequence[str | Figure]


def page(title: str, chapters: Sequence[Chapter], *, summary: str = "", footer: str = "") -> str:
    """Assembles one self-contained HTML document, with a table of contents.

    Style, script and pictures are inside: opening it asks nothing of the network. It follows the
    reader's light or dark theme and prints. `` `code` `` in a paragraph is set as code; all other
    text is shown as written.

    **Returns:** the document as a string. `jaxinterp.viz.write(path, text)` saves it in one step.
    """
    parts = [
        {
            "id": _anchor(index, chapter.title),
            "title": chapter.title,
            "body": [block if isinstance(block, Figure) else _paragraph(block) for block in chapter.body],
        }
        for index, chapter in enumerate(chapters, 1)
    ]
    return render(
        "page.html", title=title, summary=_paragraph(summary), footer=_paragraph(footer), chapters=parts
    )


def _anchor(index: int, title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{index}-{words}" if words else str(index)


def _paragraph(text: str) -> list[tuple[str, bool]]:
    """Text in runs, each with whether it is code; an odd backtick stays a backtick."""
    runs = re.split(r"`([^`\n]+)`", plain(text))
    return [(run, index % 2 == 1) for index, run in enumerate(runs) if run]
