"""A matrix as coloured cells, each with its row, column and value."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._colour import Mark, scale
from ._figure import Figure, render
from ._text import number, shorten, visible, width

_CHAR, _LABEL, _GAP = 6.7, 18, 8


@dataclasses.dataclass(frozen=True)
class Cell:
    x: float
    y: float
    mark: Mark
    text: str
    tip: str


def heatmap(
    values: Any,
    *,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    title: str = "",
    row_axis: str = "row",
    col_axis: str = "column",
    value: str = "value",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws `values` (row, col) as a heat map with labels, a colour bar and values on hover.

    **Arguments:**

    - `values`: a matrix (row, col); NaN is drawn as missing.
    - `rows`, `cols`: labels, numbers from 0 if left out. Tokens are fine: blanks and control
        characters are made visible.
    - `title`, `row_axis`, `col_axis`, `value`: what the figure, its axes and its numbers are.
    - `diverging`: two colours with the neutral one at 0; by default, where a value is negative.
    - `limits`: the ends (low, high) of the colour bar.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`, which holds the numbers as a table too.

    !!! example
        ```python
        import numpy as np, jaxinterp as ji
        ji.viz.heatmap(np.eye(3), rows="abc", cols=[" the", " end", "\\n"], title="Identity")
        ```
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"A heat map draws a matrix (row, col) with at least one cell; got the shape {values.shape}.")  # fmt: skip
    rows, cols = labels(rows, values.shape[0], "rows"), labels(cols, values.shape[1], "cols")
    ramp = scale(values, diverging, limits)

    cell_w = float(np.clip(760 / len(cols), 15, 46))
    cell_h = float(np.clip(420 / len(rows), 15, 28))
    short_rows = [shorten(label, _LABEL) for label in rows]
    short_cols = [shorten(label, _LABEL) for label in cols]
    left = 26 + _CHAR * max(map(width, short_rows))
    slanted = max(map(width, short_cols)) * _CHAR > cell_w - 4
    below = (14 + 0.71 * _CHAR * max(map(width, short_cols)) if slanted else 18) + 22
    grid_w, grid_h = cell_w * len(cols), cell_h * len(rows)
    # A slanted label leans to the left of its column, possibly beyond the row labels.
    lean = max(0.71 * _CHAR * width(text) - cell_w * (i + 0.5) for i, text in enumerate(short_cols))
    left = max(left, lean + 20) if slanted else left

    show_text = cell_w >= 34 and values.size <= 600
    cells = [
        Cell(
            x=left + cell_w * j,
            y=_GAP + cell_h * i,
            mark=ramp.mark(values[i, j]),
            text=_inside(values[i, j]) if show_text else "",
            tip=f"{row_axis} {rows[i]}, {col_axis} {cols[j]}: {number(values[i, j])}",
        )
        for i in range(len(rows))
        for j in range(len(cols))
    ]  # fmt: skip
    bar_h = max(grid_h, 60.0)
    steps = 32
    ends = np.linspace(ramp.high, ramp.low, steps)
    drawing = render(
        "heatmap.svg",
        alt=describe(values, rows, cols, title, row_axis, col_axis, value),
        title=title or value,
        cells=cells,
        cell_w=cell_w,
        cell_h=cell_h,
        row_labels=[(left - 6, _GAP + cell_h * (i + 0.5), t) for i, t in enumerate(short_rows)],
        col_labels=[(left + cell_w * (j + 0.5), _GAP + grid_h + 14, t) for j, t in enumerate(short_cols)],
        slanted=slanted,
        row_axis=row_axis,
        col_axis=col_axis,
        value=value,
        left=left,
        top=_GAP,
        grid_w=grid_w,
        grid_h=grid_h,
        bar=[(_GAP + bar_h * k / steps, ramp.mark(v)) for k, v in enumerate(ends)],
        bar_h=bar_h,
        bar_step=bar_h / steps,
        bar_ticks=_ticks(ramp.low, ramp.high, bar_h),
        width=left + grid_w + 84,
        height=max(_GAP + grid_h + below, _GAP + bar_h + 12),
    )  # fmt: skip
    html = render(
        "heatmap.html",
        svg=drawing,
        title=title,
        caption=caption,
        row_axis=row_axis,
        cols=cols,
        lines=list(zip(rows, values.tolist(), strict=True)) if values.size <= 4000 else [],
    )
    return Figure(title or value, html, svg=drawing)


def labels(given: Sequence[object] | None, size: int, name: str) -> list[str]:
    """Labels for an axis of `size`, made visible; numbers where none are given."""
    if given is None:
        return [str(i) for i in range(size)]
    if len(given) != size:
        raise ValueError(f"{name} holds one label for each of the {size} {name} of values; got {len(given)} labels.")  # fmt: skip
    return [visible(label) if isinstance(label, str) else str(label) for label in given]


def describe(
    values: np.ndarray,
    rows: list[str],
    cols: list[str],
    title: str,
    row_axis: str,
    col_axis: str,
    value: str,
) -> str:
    """What the figure shows, in words: for readers who cannot see it."""
    words = f"{title or 'Heat map'}: {value} for {len(rows)} values of {row_axis} and {len(cols)} of {col_axis}."
    if not np.isfinite(values).any():
        return words
    low, high = (
        np.unravel_index(pick(values), values.shape) for pick in (np.nanargmin, np.nanargmax)
    )
    return (
        f"{words} Largest {number(values[high])} at {row_axis} {rows[high[0]]}, {col_axis} {cols[high[1]]}; "
        f"smallest {number(values[low])} at {row_axis} {rows[low[0]]}, {col_axis} {cols[low[1]]}."
    )  # fmt: skip


def _inside(value: float) -> str:
    """The number written into a cell: two decimals, no minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−") if np.isfinite(value) else ""


def _ticks(low: float, high: float, height: float) -> list[tuple[float, str]]:
    """Where the colour bar says a number: its ends, and 0 when that lies well inside."""

    def place(v: float | int) -> float:
        return _GAP + height * (high - v) / (high - low)

    ticks = [(place(v), number(v)) for v in (high, low)]
    if low < 0 < high and min(place(0) - _GAP, _GAP + height - place(0)) > 14:
        ticks.insert(1, (place(0), "0"))
    return ticks
