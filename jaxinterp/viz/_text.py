"""Text that can be shown safely: token strings hold spaces, control characters and markup.

Escaping for HTML is the template engine's work (autoescape); this file makes characters visible
that a browser or a terminal would swallow, reorder or choke on.
"""

import unicodedata

_PICTURES = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥", "\x7f": "␡"}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_HIDDEN_SPACES = frozenset("\u00a0\u2007\u202f\u3000")


def _picture(char: str, spaces: bool) -> str:
    if char == " " and not spaces:
        return char
    if char in _PICTURES:
        return _PICTURES[char]
    if char < " ":
        return chr(0x2400 + ord(char))
    if unicodedata.category(char) in _HIDDEN or (spaces and char in _HIDDEN_SPACES):
        return f"⟨U+{ord(char):04X}⟩"
    return char


def visible(text: str, *, spaces: bool = True) -> str:
    """A token with nothing hidden: `visible(" a\\n") == "·a⏎"`.

    Control characters become their pictures (U+2400 ...), and invisible or reordering ones
    (zero-width, right-to-left override, lone surrogates) their code point. `spaces=False` leaves
    blanks as they are, for running text.
    """
    return "".join(_picture(char, spaces) for char in text)


def plain(text: str) -> str:
    """Running text for a page: line breaks stay, other control characters are made visible."""
    return "\n".join(visible(line, spaces=False) for line in text.splitlines())


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


def number(value: float, digits: int = 3) -> str:
    """A number for a label: three significant digits, a true minus sign, `no value` for NaN."""
    if value != value:
        return "no value"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}g}" if value else "0"
    if "e" not in text and abs(value) >= 10**digits:
        text = f"{value:.0f}"
    return text.replace("-", "−")
