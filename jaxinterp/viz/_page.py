"""Chapters of text and figures as one HTML file."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from .._text import plain
from ._render import render, scripts_of


@runtime_checkable
class Fragment(Protocol):
    """What a chapter holds besides paragraphs: HTML with a title, as a `Figure` is."""

    @property
    def title(self) -> str: ...
    @property
    def html(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A part of a page.

    - `title`: the heading; "" for none.
    - `body`: the parts below it, in order: a string is a paragraph, a `Figure` is drawn.

    ```python
    chapter = ji.viz.Chapter("Effects", ["The effect of `resid_pre`.", ji.viz.heatmap(heat)])
    ```
    """

    title: str
    body: Iterable[str | Fragment]


def page(title: str, chapters: Iterable[Chapter], *, summary: str = "", footer: str = "") -> str:
    """Assembles one self-contained HTML document, with a table of contents.

    Style, script and pictures are inside, so it opens without a network. It follows the
    reader's light or dark theme and can be printed. `` `code` `` in a paragraph is set as code; all other
    text is shown as written.

    **Arguments:**

    - `title`: the title of the document.
    - `chapters`: the chapters, each a `Chapter`.
    - `summary`, `footer`: a paragraph at the top, and one at the end.

    **Returns:** the document as a string. `jaxinterp.viz.write(path, text)` saves it.

    ```python
    chapter = ji.viz.Chapter("Effects", ["Where John is read:", ji.viz.heatmap(heat)])
    ji.viz.write("report.html", ji.viz.page("A report", [chapter], summary="Two prompts."))
    ```
    """
    bodies = [(chapter.title, list(chapter.body)) for chapter in chapters]
    parts = [
        {
            "id": _anchor(index, heading),
            "title": heading,
            "body": [_paragraph(block) if isinstance(block, str) else block for block in body],
        }
        for index, (heading, body) in enumerate(bodies, 1)
    ]
    drawn = "".join(block.html for _, body in bodies for block in body if not isinstance(block, str))
    return render(
        "page.html",
        title=title,
        summary=_paragraph(summary),
        footer=_paragraph(footer),
        chapters=parts,
        scripts=scripts_of(drawn),
    )


def _anchor(index: int, title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"{index}-{words}" if words else str(index)


def _paragraph(text: str) -> list[tuple[str, bool]]:
    """Text in runs, each with whether it is code; an odd backtick stays a backtick."""
    runs = re.split(r"`([^`\n]+)`", plain(text))
    return [(run, index % 2 == 1) for index, run in enumerate(runs) if run]
