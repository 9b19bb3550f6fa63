"""What a chapter returns, and the pieces that both the terminal and the page can show."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from .. import viz
from .._text import grid


@dataclasses.dataclass(frozen=True)
class Table:
    """A small table: `rich()` for the terminal, `figure()` for the page.

    A long one can be `page_only`, where it is folded.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    caption: str = ""
    page_only: bool = False

    def rich(self) -> Any:
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
    """

    title: str
    body: Sequence[str | Table | viz.Figure]
    numbers: dict[str, Any]


Chapter = Callable[[Any, Any], Finding]
"""`chapter(model, tokenizer) -> Finding`; raises `NotForThisModel` where it does not apply."""


class NotForThisModel(ValueError):
    """A chapter cannot be told with this model: the message says why, and the tour goes on."""


def prompt(tokenizer: Any, text: str) -> Any:
    """Ids of a text, after the first-token marker where the tokenizer has one, as in training."""
    return tokenizer(text, bos=tokenizer.bos_id is not None)


def percent(share: Any) -> str:
    """`percent(0.734) == "73%"`."""
    return f"{100 * share:.0f}%".replace("-", "−")


def listed(items: Sequence[str]) -> str:
    """`listed(["a", "b", "c"]) == "a, b and c"`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
