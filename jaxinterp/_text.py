"""Text of others that can be shown: nothing in it is hidden, moves a terminal's cursor or turns a line around.

Token strings, labels, names of files and what stands in them hold spaces, control characters and
marks of direction. What prints or draws them, a terminal or a page, asks one of these functions.
Escaping for HTML is the template engine's work (autoescape).
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

_PICTURES = {" ": "·", "\n": "↵", "\t": "→", "\x7f": "␡"}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_HIDDEN_SPACES = frozenset("\u00a0\u2007\u202f\u3000")


def _picture(char: str) -> str:
    if char in _PICTURES:
        return _PICTURES[char]
    if char < " ":
        return chr(0x2400 + ord(char))
    if char in _HIDDEN_SPACES or unicodedata.category(char) in _HIDDEN:
        return f"⟨U+{ord(char):04X}⟩"
    return char


def visible(text: str) -> str:
    """A token with nothing hidden: `visible(" a\\n") == "·a↵"`.

    Blanks at its ends become dots (between words they stay), control characters their pictures
    (U+2400 ...), and invisible or reordering ones (zero-width, right-to-left override, lone
    surrogates) their code point.
    """
    core = text.strip(" ")
    start = text.index(core) if core else len(text)
    ends = range(start, start + len(core))
    return "".join(c if c == " " and i in ends else _picture(c) for i, c in enumerate(text))


def plain(text: str) -> str:
    """Running text: line breaks stay, other control characters are made visible."""
    if text.isascii() and text.isprintable():
        return str(text)
    return "".join(char if char in " \n\u00a0\u202f" else _picture(char) for char in text)


def line(text: Any) -> str:
    """A label, a name or a path as one line: line breaks are made visible too."""
    return plain(str(text)).replace("\n", "↵")


def grid(columns: Sequence[Any], rows: Sequence[Sequence[Any]], *, title: str = "") -> Any:
    """A table for the terminal, to `rich.print`: cells are text, never markup or control characters."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(line(title)) if title else None,
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    for column in columns:
        table.add_column(Text(line(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(line(cell)) for cell in row))
    return table
