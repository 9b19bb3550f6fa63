"""Values to colours that follow the reader's light or dark theme.

A cell carries how far it is from the neutral colour, as a percentage, and the style sheet mixes:
`color-mix(in oklab, var(--ji-high) 63%, var(--ji-zero))`. A plain hex colour rides along for
viewers without style sheets (an SVG in a paper).
"""

import dataclasses
from typing import Any

import numpy as np

from ._contrast import flips, ink

_HEX = {
    "high": (11, 94, 170),
    "low": (190, 65, 15),
    "zero": (246, 247, 249),
    "none": (200, 200, 200),
}


@dataclasses.dataclass(frozen=True)
class Mark:
    """The colour of one value: its side (high, low, none), its share of it, and a plain colour."""

    side: str
    percent: float
    hex: str

    @property
    def css(self) -> str:
        """The classes of the cell; `ji-strong` asks for the other ink in the light theme, `ji-strong-dark` in the dark."""
        light, dark = flips().get(self.side, (100.0, 100.0))
        strong = " ji-strong" * (self.percent > light) + " ji-strong-dark" * (self.percent > dark)
        return f"ji-{self.side}{strong}"

    @property
    def ink(self) -> str:
        """The colour of text on the plain colour."""
        return ink(self.hex)


@dataclasses.dataclass(frozen=True)
class Scale:
    """From `low` to `high`; a diverging scale has its neutral colour at 0, others at `low`."""

    low: float
    high: float
    diverging: bool

    def mark(self, value: Any) -> Mark:
        if not np.isfinite(value):
            return Mark("none", 0.0, _mix("none", 100.0))
        if self.diverging:
            side, share = ("high", value / self.high) if value >= 0 else ("low", value / self.low)
        else:
            side, share = "high", (value - self.low) / (self.high - self.low)
        percent = round(100 * min(max(float(share), 0.0), 1.0), 1)
        return Mark(side, percent, _mix(side, percent))


def scale(
    values: Any,
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
) -> Scale:
    """The scale of an array. By default it is diverging where the array has negative values.

    Without `limits`, a diverging scale is symmetric about 0, and another begins at 0 where all
    values are positive. Values beyond the limits take the colour of the limit.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if limits is not None:
        low, high = limits
        if not low < high:
            raise ValueError(f"limits=(low, high) need low < high; got {limits}.")
    if diverging is None:
        diverging = bool(low < 0)
    if diverging:
        reach = max(abs(low), abs(high)) or 1.0
        low, high = (-reach, reach) if limits is None else (min(low, -1e-12), max(high, 1e-12))
    elif limits is None and low >= 0:
        low = 0.0
    if low == high:
        high = low + 1.0
    return Scale(float(low), float(high), diverging)


def _mix(side: str, percent: float) -> str:
    end, zero = np.array(_HEX[side]), np.array(_HEX["zero"])
    red, green, blue = np.rint(zero + (end - zero) * percent / 100).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
