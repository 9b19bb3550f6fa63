"""A matrix of numbers with what is known about each: its interval, and whether it is marked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._text import number, visible


@dataclasses.dataclass(frozen=True)
class Cells:
    """What a heat map draws: `values` (row, col), and `marks`, `low`, `high` of that shape or None."""

    values: np.ndarray
    marks: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def marked(self, row: int, col: int) -> bool:
        return self.marks is not None and bool(self.marks[row, col])

    def said(self, row: int, col: int, mark: str) -> str:
        """One cell in words: `0.5 (0.3 to 0.7), significant`."""
        text = number(self.values[row, col])
        if self.low is not None and self.high is not None:
            text += f" ({number(self.low[row, col])} to {number(self.high[row, col])})"
        return f"{text}, {mark}" if self.marked(row, col) else text


def cells(values: Any, marks: Any = None, low: Any = None, high: Any = None) -> Cells:
    """Checks the arrays of one heat map.

    Raises `ValueError` for anything that is no matrix, and for arrays of another shape than it.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"A heat map draws a matrix (row, col) with at least one cell; got the shape {values.shape}."
        )
    if (low is None) != (high is None):
        raise ValueError("An interval has two ends: give low=... and high=..., or neither.")

    def like(array: Any, name: str) -> np.ndarray | None:
        if array is None:
            return None
        array = np.asarray(array)
        if array.shape != values.shape:
            raise ValueError(
                f"{name} holds one entry for each cell of values {values.shape}; got the shape {array.shape}."
            )
        return array

    marks, low, high = like(marks, "marks"), like(low, "low"), like(high, "high")
    if marks is not None and marks.dtype != bool:
        raise ValueError(
            f"marks says of each cell whether it is marked, as in marks=p < 0.05; got {marks.dtype}."
        )
    if low is not None and high is not None:
        low, high = low.astype(float), high.astype(float)
        if (low > high).any():
            raise ValueError("low is the lower end of each interval; some cells have low > high.")
    return Cells(values, marks, low, high)


def panels(values: Any, marks: Any = None, low: Any = None, high: Any = None) -> dict[str, Cells]:
    """Checks the arrays of several heat maps, by name.

    Raises `ValueError` where they differ in shape, or a mark or an interval belongs to none.
    """
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            'heatmaps draws named matrices, {"q": a, "k": b}; for one matrix call heatmap(values). '
            f"Got {type(values).__name__}{' without entries' if isinstance(values, Mapping) else ''}."
        )
    extra = {"marks": marks or {}, "low": low or {}, "high": high or {}}
    for what, given in extra.items():
        unknown = [name for name in given if name not in values]
        if unknown:
            raise ValueError(
                f"{what} names {unknown[0]!r}, which is no panel; there are {', '.join(map(repr, values))}."
            )
    found = {
        str(name): cells(matrix, *(given.get(name) for given in extra.values()))
        for name, matrix in values.items()
    }
    shapes = {name: one.values.shape for name, one in found.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Panels share their rows and columns, and so have one shape; got {shapes}.")
    return found


def labels(given: Sequence[object] | None, size: int, name: str) -> list[str]:
    """Labels for an axis of `size`, made visible; numbers where none are given."""
    if given is None:
        return [str(i) for i in range(size)]
    if len(given) != size:
        raise ValueError(
            f"{name} holds one label for each of the {size} {name} of values; got {len(given)} labels."
        )
    return [visible(label) if isinstance(label, str) else str(label) for label in given]


def inside(value: float) -> str:
    """The number written into a cell: two decimals, no minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−") if np.isfinite(value) else ""
