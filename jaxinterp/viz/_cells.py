"""A matrix of numbers with what is known about each: its interval, and whether it is marked."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .._text import number, visible
from ..typing import ArrayLike, ArraysLike
from ._colour import Scale

Interval = tuple[ArrayLike, ArrayLike]
"""The lower and the upper ends of the intervals of all cells, each (row, col)."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """What a heat map draws: `values` (row, col), and `marks`, `low`, `high` of that shape or None."""

    values: np.ndarray
    marks: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def marked(self, row: int, col: int) -> bool:
        return self.marks is not None and bool(self.marks[row, col])

    def describe(self, row: int, col: int, mark: str) -> str:
        """One cell in words: `0.5 (0.3 to 0.7), significant`."""
        text = number(self.values[row, col])
        if self.low is not None and self.high is not None:
            text += f" ({number(self.low[row, col])} to {number(self.high[row, col])})"
        return f"{text}, {mark}" if self.marked(row, col) else text


def cells(values: ArrayLike, marks: ArrayLike | None = None, interval: Interval | None = None) -> Cells:
    """Checks the arrays of one heat map.

    Raises `ValueError` for anything that is no matrix, and for arrays of another shape than it.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"A heat map draws a matrix (row, col) with at least one cell; got the shape {values.shape}."
        )
    if marks is not None:
        marks = _like(values, marks, "marks")
        if marks.dtype != bool:
            raise ValueError(
                f"marks says of each cell whether it is marked, as in marks=p < 0.05; got {marks.dtype}."
            )
    if interval is None:
        return Cells(values, marks)
    if len(interval) != 2 or any(end is None for end in interval):
        raise ValueError("An interval has two ends: give interval=(low, high).")
    low, high = (_like(values, end, "interval").astype(float) for end in interval)
    if (low > high).any():
        raise ValueError("An interval is (low, high) with low <= high; some cells have low > high.")
    return Cells(values, marks, low, high)


def _like(values: np.ndarray, array: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != values.shape:
        raise ValueError(
            f"{name} holds one entry for each cell of values {values.shape}; got the shape {array.shape}."
        )
    return array


def panels(
    values: ArraysLike,
    marks: Mapping[str, ArrayLike] | None = None,
    interval: Mapping[str, Interval] | None = None,
) -> dict[str, Cells]:
    """Checks the arrays of several heat maps, by name.

    Raises `ValueError` where they differ in shape, or a mark or an interval belongs to none.
    """
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            'heatmaps draws named matrices, {"q": a, "k": b}; for one matrix call heatmap(values). '
            f"Got {type(values).__name__}{' without entries' if isinstance(values, Mapping) else ''}."
        )
    extra = {"marks": marks or {}, "interval": interval or {}}
    for what, arrays in extra.items():
        unknown = [name for name in arrays if name not in values]
        if unknown:
            raise ValueError(
                f"{what} names {unknown[0]!r}, which is no panel; there are {', '.join(map(repr, values))}."
            )
    checked = {
        str(name): cells(matrix, extra["marks"].get(name), extra["interval"].get(name))
        for name, matrix in values.items()
    }
    shapes = {name: one.values.shape for name, one in checked.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Panels share their rows and columns, and so have one shape; got {shapes}.")
    return checked


def labels(names: Sequence[object] | None, size: int, name: str) -> list[str]:
    """Labels for an axis of `size`, made visible; numbers where there are none."""
    if names is None:
        return [str(i) for i in range(size)]
    if len(names) != size:
        raise ValueError(
            f"{name} holds one label for each of the {size} {name} of values; got {len(names)} labels."
        )
    return [visible(label) if isinstance(label, str) else str(label) for label in names]


@dataclasses.dataclass(frozen=True)
class CellText:
    """How numbers are written into the cells of one scale: `digits` decimals, in units of 10 to the `power`."""

    digits: int
    power: int = 0

    def inside(self, value: float) -> str:
        """The number of a cell, without a minus before zero; empty where there is none."""
        if not np.isfinite(value):
            return ""
        scaled = value / 10.0**self.power
        return f"{round(scaled, self.digits) + 0.0:.{self.digits}f}".replace("-", "−")

    @property
    def unit(self) -> str:
        """What one in a cell is, such as `10⁻⁵`; empty for 1."""
        raised = str(self.power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"10{raised}" if self.power else ""


def cell_text(ramp: Scale) -> CellText:
    """Decimals by the scale: half a unit of the last place is at most one hundredth of it.

    So no cell with a colour of its own reads 0. Scales that need more than three decimals, or more than
    four digits, are written in units of a power of ten.
    """
    span = ramp.high if ramp.diverging else ramp.high - ramp.low
    largest = max(abs(ramp.low), abs(ramp.high))
    power = int(np.floor(np.log10(largest))) if span < 0.05 or largest >= 1e4 else 0
    digits = int(np.ceil(-np.log10(span / 10.0**power / 50) - 1e-9))
    return CellText(min(max(digits, 0), 6), power)


def numbers_inside(drawn: Sequence[Cells], ramp: Scale) -> CellText | None:
    """How cells say their numbers, or None where they are too small or too many for it."""
    form, (rows, cols) = cell_text(ramp), drawn[0].values.shape
    wide = max(len(form.inside(value)) for one in drawn for value in one.values.flat)
    fits = cell_width(cols, len(drawn)) >= 6 * wide + 3 and len(drawn) * rows * cols <= 600
    return form if fits else None


def cell_width(cols: int, count: int) -> float:
    """Width of a cell in pixels, where `count` panels of `cols` columns stand side by side."""
    return float(np.clip(760 / (cols * count), 15, 46))
