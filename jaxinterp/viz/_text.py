"""Text of figures: cut to a width, numbers for labels; what shows control characters is `jaxinterp._text`."""

import unicodedata
from typing import Any

from .._text import line as line
from .._text import plain as plain
from .._text import visible as visible


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
