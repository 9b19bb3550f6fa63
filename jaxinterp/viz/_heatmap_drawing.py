"""The drawing of a heat map: where its cells, labels and colour bar lie, and the same in words."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from .._text import number, shorten, width
from ._cells import Cells, cell_width, labels, numbers_inside
from ._colour import Mark, Scale
from ._render import render

_CHAR, _LABEL, _GAP, _BETWEEN, _HEADING = 6.7, 18, 8, 20, 20


@dataclasses.dataclass(frozen=True)
class HeatmapText:
    """The text of a heat map beside its numbers."""

    title: str
    row_axis: str
    col_axis: str
    value: str
    mark: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A heat map as SVG and as HTML, and the size of one panel in inches."""

    svg: str
    html: str
    inches: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Cell:
    x: float
    y: float
    mark: Mark
    text: str
    tip: str
    dot: bool


@dataclasses.dataclass(frozen=True)
class Panel:
    left: float
    heading: str
    cells: list[Cell]
    col_labels: list[tuple[float, str]]


def draw(
    drawn: dict[str, Cells],
    rows: Sequence[object] | None,
    cols: Sequence[object] | None,
    ramp: Scale,
    words: HeatmapText,
) -> Drawing:
    """Panels side by side, with one scale and one colour bar."""
    shape = next(iter(drawn.values())).values.shape
    row_names, col_names = labels(rows, shape[0], "rows"), labels(cols, shape[1], "cols")
    cell_w, cell_h = cell_width(shape[1], len(drawn)), float(np.clip(420 / shape[0], 15, 28))
    short_rows = [shorten(label, _LABEL) for label in row_names]
    short_cols = [shorten(label, _LABEL) for label in col_names]
    widest = _CHAR * max(map(width, short_cols))
    slanted = widest > cell_w - 4
    left = 26 + _CHAR * max(map(width, short_rows))
    if slanted:  # a slanted label leans to the left of its column, possibly beyond the row labels
        lean = [0.71 * _CHAR * width(t) - cell_w * (i + 0.5) for i, t in enumerate(short_cols)]
        left = max(left, max(lean) + 20)
    below = (14 + 0.71 * widest if slanted else 18) + 22
    top = _GAP + (_HEADING if any(drawn) else 0)
    grid_w, grid_h = cell_w * shape[1], cell_h * shape[0]
    lefts = [left + i * (grid_w + _BETWEEN) for i in range(len(drawn))]
    right = lefts[-1] + grid_w
    form = numbers_inside(list(drawn.values()), ramp)
    unit = f"cells in units of {form.unit}" if form is not None and form.unit else ""

    def cell(one: Cells, name: str, x: float, i: int, j: int) -> Cell:
        where = f"{words.row_axis} {row_names[i]}, {words.col_axis} {col_names[j]}"
        return Cell(
            x=x + cell_w * j,
            y=top + cell_h * i,
            mark=ramp.mark(one.values[i, j]),
            text=form.inside(one.values[i, j]) if form is not None else "",
            tip=f"{name + ', ' if name else ''}{where}: {one.describe(i, j, words.mark)}",
            dot=one.marked(i, j),
        )

    bar_h, steps = max(grid_h, 60.0), 32
    drawn_svg = functools.partial(
        render,
        "heatmap.svg",
        alt=" ".join(describe(one, name, row_names, col_names, words) for name, one in drawn.items()),
        title=words.title or words.value,
        panels=[
            Panel(
                left=x,
                heading=name,
                cells=[cell(one, name, x, *at) for at in np.ndindex(shape)],
                col_labels=[(x + cell_w * (j + 0.5), t) for j, t in enumerate(short_cols)],
            )
            for x, (name, one) in zip(lefts, drawn.items(), strict=True)
        ],
        cell_w=cell_w,
        cell_h=cell_h,
        row_labels=[(left - 6, top + cell_h * (i + 0.5), t) for i, t in enumerate(short_rows)],
        slanted=slanted,
        words=words,
        top=top,
        grid_w=grid_w,
        grid_h=grid_h,
        right=right,
        unit=unit,
    )
    drawing = drawn_svg(
        bar=[
            (top + bar_h * k / steps, ramp.mark(v))
            for k, v in enumerate(np.linspace(ramp.high, ramp.low, steps))
        ],
        bar_step=bar_h / steps,
        bar_h=bar_h,
        bar_ticks=[(top + y, text) for y, text in bar_ticks(ramp, bar_h)],
        width=right + 104,
        height=max(top + grid_h + below, top + bar_h + 12),
    )
    html = render(
        "heatmap.html",
        # The page says the scale below the cells, where it stays when they scroll.
        svg=drawn_svg(bar=[], bar_ticks=[], width=right + 8, height=top + grid_h + below),
        words=words,
        low=number(ramp.low),
        high=number(ramp.high),
        diverging=ramp.diverging,
        unit=unit,
        cols=col_names,
        tables=[(name, _numbers(one, row_names)) for name, one in drawn.items()]
        if len(drawn) * shape[0] * shape[1] <= 4000
        else [],
        marked=any(one.marks is not None for one in drawn.values()),
    )
    return Drawing(drawing, html, ((left + grid_w + 60) / 80, (top + bar_h + below) / 80))


def _numbers(one: Cells, rows: list[str]) -> list[tuple[str, list[str]]]:
    """The rows of the table of numbers; marked ones carry a star."""
    return [
        (
            row,
            [number(value) + (" *" if one.marked(i, j) else "") for j, value in enumerate(one.values[i])],
        )
        for i, row in enumerate(rows)
    ]


def describe(one: Cells, name: str, rows: list[str], cols: list[str], words: HeatmapText) -> str:
    """What a heat map shows, in words: for readers who cannot see it."""
    what = ", ".join(filter(None, [words.title or "Heat map", name]))
    text = f"{what}: {words.value} for {len(rows)} values of {words.row_axis} and {len(cols)} of {words.col_axis}."
    if not np.isfinite(one.values).any():
        return text
    low, high = (
        np.unravel_index(pick(one.values), one.values.shape) for pick in (np.nanargmin, np.nanargmax)
    )
    if one.marks is not None:
        text += f" Of {one.marks.size} cells {int(one.marks.sum())} are {words.mark}."
    return (
        f"{text} Largest {number(one.values[high])} at {words.row_axis} {rows[high[0]]}, {words.col_axis} {cols[high[1]]}; "
        f"smallest {number(one.values[low])} at {words.row_axis} {rows[low[0]]}, {words.col_axis} {cols[low[1]]}."
    )


def bar_ticks(ramp: Scale, height: float) -> list[tuple[float, str]]:
    """Where the colour bar says a number: its ends, and 0 when that lies well inside."""

    def place(v: float | int) -> float:
        return height * (ramp.high - v) / (ramp.high - ramp.low)

    ends = [(place(v), number(v)) for v in (ramp.high, ramp.low)]
    if ramp.low < 0 < ramp.high and min(place(0), height - place(0)) > 14:
        ends.insert(1, (place(0), "0"))
    return ends
