"""Contrast of text and its ground, as WCAG 2 counts it, for the colours that the style sheet mixes.

Text in a cell is black or white, whichever the ground asks for. On a mixed colour one of them has a
contrast of at least 4.58: both have it where the luminance is `MIDDLE`.
"""

import functools
import math

THEMES = {
    "light": {"high": "#0b5eaa", "low": "#be410f", "zero": "#f3f5f7", "none": "#c8ccd0"},
    "dark": {"high": "#6cb8ff", "low": "#ff9a66", "zero": "#1a222b", "none": "#4a535d"},
}
"The colours of cells in `templates/style.css`, by theme."
MIDDLE = math.sqrt(1.05 * 0.05) - 0.05
"The luminance on which black and white text have the same contrast."

_TO_CONE = ((0.4122214708, 0.5363325363, 0.0514459929),)
_TO_CONE += ((0.2119034982, 0.6806995451, 0.1073969566), (0.0883024619, 0.2817188376, 0.6299787005))
_TO_LAB = ((0.2104542553, 0.7936177850, -0.0040720468),)
_TO_LAB += ((1.9779984951, -2.4285922050, 0.4505937099), (0.0259040371, 0.7827717662, -0.8086757660))
_FROM_LAB = ((1.0, 0.3963377774, 0.2158037573),)
_FROM_LAB += ((1.0, -0.1055613458, -0.0638541728), (1.0, -0.0894841775, -1.2914855480))
_FROM_CONE = ((4.0767416621, -3.3077115913, 0.2309699292),)
_FROM_CONE += ((-1.2684380046, 2.6097574011, -0.3413193965), (-0.0041960863, -0.7034186147, 1.7076147010))

Colour = tuple[float, ...]
"Red, green and blue, linear, from 0 to 1."


def linear(text: str) -> Colour:
    """A colour written `#rrggbb` as linear red, green and blue."""
    parts = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)


def luminance(colour: Colour) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def contrast(one: Colour, other: Colour) -> float:
    """$(L_1 + 0.05) / (L_2 + 0.05)$ with the lighter above: 1 for equal colours, 21 for black on white."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def mixed(end: str, zero: str, percent: float | int) -> Colour:
    """`color-mix(in oklab, end percent%, zero)`, linear."""
    share = percent / 100
    lab = [share * a + (1 - share) * b for a, b in zip(_oklab(end), _oklab(zero), strict=True)]
    cone = (part**3 for part in _times(_FROM_LAB, lab))
    return tuple(min(max(part, 0.0), 1.0) for part in _times(_FROM_CONE, tuple(cone)))


@functools.cache
def flips() -> dict[str, list[float]]:
    """The percentages beyond which a cell asks for the other ink, by side: in the light theme, in the dark one."""
    return {side: [_flip(side, theme) for theme in THEMES] for side in ("high", "low")}


def ink(colour: str) -> str:
    """The text colour for a ground written `#rrggbb`."""
    return "#000000" if luminance(linear(colour)) > MIDDLE else "#ffffff"


def _flip(side: str, theme: str) -> float:
    colours, low, high = THEMES[theme], 0.0, 100.0
    above = luminance(mixed(colours[side], colours["zero"], low)) > MIDDLE
    for _ in range(30):
        half = (low + high) / 2
        if (luminance(mixed(colours[side], colours["zero"], half)) > MIDDLE) == above:
            low = half
        else:
            high = half
    return round(high, 1)


def _oklab(text: str) -> Colour:
    return _times(_TO_LAB, tuple(math.cbrt(part) for part in _times(_TO_CONE, linear(text))))


def _times(matrix: tuple[Colour, ...], x: "Colour | list[float]") -> Colour:
    return tuple(sum(a * b for a, b in zip(row, x, strict=True)) for row in matrix)
