"""Text of others that can be shown: nothing in it is hidden, moves a terminal's cursor or turns a line around.

Token strings, labels, names of files and what stands in them hold spaces, control characters and
marks of direction. What prints or draws them, a terminal or a page, asks one of these functions.
Escaping for HTML is the template engine's work (autoescape).
"""

import reprlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

_PICTURES = {" ": "·", "\n": "↵", "\t": "→", "\x7f": "␡"}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_HIDDEN_SPACES = frozenset("\u00a0\u2007\u202f\u3000")


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 80
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 8
        self.maxdict = 4

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"an int of {x.bit_length():,} bits"


_SHORT = _Short()


def _picture(char: str) -> str:
    if char in _PICTURES:
        return _PICTURES[char]
    if char < " ":
        return chr(0x2400 + ord(char))
    if char in _HIDDEN_SPACES or unicodedata.category(char) in _HIDDEN:
        return f"⟨U+{ord(char):04X}⟩"
    return char


def visible(text: str) -> str:
    """A token as text in which blanks and control characters can be seen: `visible(" a\\n") == "·a↵"`.

    Blanks at its ends become dots; blanks between words stay. Control characters become their pictures
    (U+2400 ...). Characters that are invisible or change the order of text (zero-width, right-to-left override, lone
    surrogates) become their code point.

    ```python
    [ji.viz.visible(token) for token in tokenizer.tokens(tokens)]     # "·John", ...
    ```
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


def shown(value: Any, most: int = 200) -> str:
    """A value as one short line of an error, with nothing hidden: its text may be endless when written out."""
    text = line(" ".join(_SHORT.repr(value).split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def shorten(text: str, columns: int) -> str:
    """Cuts text to a display width, with an ellipsis; East Asian wide characters count twice."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def width(text: str) -> int:
    """Columns that text takes in a fixed-width font."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def number(value: Any, digits: int = 3) -> str:
    """A number as text for a label: three significant digits, a true minus sign, `no value` for NaN.

    **Arguments:**

    - `value`: a number.
    - `digits`: how many significant digits; 3 by default. Whole parts of up to 7 digits are written in full.

    ```python
    ji.viz.number(-0.12345), ji.viz.number(123456.7)    # "−0.123", "123457"
    ```
    """
    if value != value:
        return "no value"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.0f}" if 10**digits <= abs(value) < 1e7 else f"{value:.{digits}g}"
    return text.replace("-", "−")


def text_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of one set of columns as aligned text, with a heading."""
    table = [tuple(rows[0] if rows else ()), *(tuple(row.values()) for row in rows)]
    widths = [max(map(width, cells)) for cells in zip(*table, strict=True)]
    lines = (
        "  ".join(cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(text.rstrip() for text in lines)


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


def check_tokenizer(tokenizer: Any, call: str, method: str = "tokens") -> Any:
    """A tokenizer, by the method that is called. A model, a pair of `ji.load` and None are none. `call` shows one."""
    if isinstance(tokenizer, type) or not callable(getattr(tokenizer, method, None)):
        raise ValueError(
            f"A tokenizer has the method {method}; got {shown(tokenizer)}, which has none. Load one: "
            f"model, tokenizer = ji.load(name); {call}."
        )
    return tokenizer
