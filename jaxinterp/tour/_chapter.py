"""What a chapter returns, and the pieces that both the terminal and the page can show."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array

from .. import viz
from .._tabular import Record, Tabular
from .._text import grid
from ..hub import Tokenizer
from ..typing import ArrayLike

if TYPE_CHECKING:
    import rich.table

    from ._shown import CodedFigure


@dataclasses.dataclass(frozen=True)
class Table(Tabular):
    """A small table: `rich()` for the terminal, `figure()` for the page.

    A long one can be `page_only`, where it is folded.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    caption: str = ""
    page_only: bool = False

    def records(self) -> list[Record]:
        """A row for each row of the table, by the names of its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def rich(self) -> "rich.table.Table":
        cells = [[viz.number(v) if isinstance(v, float) else v for v in row] for row in self.rows]
        return grid(self.columns, cells, title=self.title)

    def figure(self) -> viz.Figure:
        return viz.table(
            self.columns, self.rows, title=self.title, caption=self.caption, folded=self.page_only
        )


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a chapter found: its text and figures in reading order, and its numbers by name.

    The text is made from `numbers`, so that it claims what was measured and nothing else.

    - `question`: what the chapter asks, one sentence; `shows`: what its figures show, one more.
    - `body`: strings are paragraphs; a `CodedFigure` is a figure with its code.
    """

    title: str
    question: str
    shows: str
    body: "Sequence[str | Table | viz.Figure | CodedFigure]"
    numbers: dict[str, Any]


Chapter = Callable[[Any, Any], Finding]
"""`chapter(model, tokenizer) -> Finding`; raises `NotForThisModel` where it does not apply."""


class NotForThisModel(ValueError):
    """A chapter does not apply to this model. The message says why, and the tour goes on."""


def prompt(tokenizer: Tokenizer, text: str) -> Array:
    """Ids of a text, after the first-token marker where the tokenizer has one, as in training."""
    return tokenizer(text, bos=tokenizer.bos_id is not None)


def percent(share: ArrayLike) -> str:
    """`percent(0.734) == "73%"`."""
    text = f"{100 * float(np.asarray(share)):.0f}%"
    return "0%" if text == "-0%" else text.replace("-", "−")


def code(text: str) -> str:
    """A token or text set as code in a paragraph: `code(" a") == "`·a`"`. Backticks in it would end the code."""
    return f"`{viz.visible(text).replace('`', 'ˋ')}`"


def listed(items: Sequence[str]) -> str:
    """`listed(["a", "b", "c"]) == "a, b and c"`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
