"""A matrix of numbers with what is known about each: its interval, and whether it is marked."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .._text import number, visible
from ..typing import ArrayLike, ArraysLike

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


def inside(value: float) -> str:
    """The number written into a cell: two decimals, no minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−") if np.isfinite(value) else ""


def shows_numbers(shape: tuple[int, int], count: int = 1) -> bool:
    """Whether the cells of `count` panels are large enough to hold their numbers."""
    return cell_width(shape[1], count) >= 34 and count * shape[0] * shape[1] <= 600


def cell_width(cols: int, count: int) -> float:
    """Width of a cell in pixels, where `count` panels of `cols` columns stand side by side."""
    return float(np.clip(760 / (cols * count), 15, 46))
