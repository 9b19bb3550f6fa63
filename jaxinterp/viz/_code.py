"""Lines of Python on a page, with a button that copies them."""

from ._figure import Figure
from ._render import render


def code_block(code: str, *, title: str, first: bool = False) -> Figure:
    """Draws `code` as it is, below a figure. The button copies what is needed to run it.

    That is the block with `first` of the page, the blocks above it in the same chapter, and its own lines.
    """
    return Figure(title, render("code.html", code=code.strip("\n"), title=title, first=first))
