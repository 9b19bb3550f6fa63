"""Text that can be shown safely: token strings hold spaces, control characters and markup.

Escaping for HTML is the template engine's work (autoescape); this file makes characters visible
that a browser or a terminal would swallow, reorder or choke on.
"""

import unicodedata
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
    """Running text for a page: line breaks stay, other control characters are made visible."""
    return "".join(char if char in " \n\u00a0\u202f" else _picture(char) for char in text)


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
    """A number for a label: three significant digits, a true minus sign, `no value` for NaN."""
    if value != value:
        return "no value"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.0f}" if 10**digits <= abs(value) < 1e7 else f"{value:.{digits}g}"
    return text.replace("-", "−")
