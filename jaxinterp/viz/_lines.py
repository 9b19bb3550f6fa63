"""Curves over a shared axis."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._figure import Figure, render
from ._text import number

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 240.0, 52.0, 16.0, 12.0, 40.0
_COLOURS = ("#0b5eaa", "#be410f", "#2b8a3e", "#8250df", "#9a6700")


def lines(
    series: Mapping[str, Any],
    *,
    x: Any = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    marks: Mapping[str, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws one curve per entry of `series` (each `(point,)`), all over the same `x` (0, 1, 2 ... if left out).

    `marks` names values of `x` that get a vertical line. NaN breaks a curve. Hovering a point
    shows its value.
    """
    curves = {name: np.asarray(values, dtype=float) for name, values in series.items()}
    sizes = {name: values.shape for name, values in curves.items()}
    if (
        not curves
        or len(set(sizes.values())) > 1
        or any(v.ndim != 1 or not v.size for v in curves.values())
    ):
        raise ValueError(f"lines draws one-dimensional series of one length; got {sizes}.")
    count = next(iter(sizes.values()))[0]
    xs = np.arange(count, dtype=float) if x is None else np.asarray(x, dtype=float)
    if xs.shape != (count,):
        raise ValueError(f"x holds one value per point of the series ({count}); got the shape {xs.shape}.")  # fmt: skip

    finite = np.concatenate([v[np.isfinite(v)] for v in curves.values()] + [np.zeros(1)])
    y_ticks, x_ticks = ticks(finite.min(), finite.max()), ticks(xs.min(), xs.max())
    y_low, y_high = y_ticks[0], y_ticks[-1]
    x_low, x_high = float(xs.min()), max(float(xs.max()), float(xs.min()) + 1e-9)

    def place(u: Any, v: Any) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (u - x_low) / (x_high - x_low)
        down = _TOP + (_H - _TOP - _BOTTOM) * (y_high - v) / (y_high - y_low)
        return round(across, 1), round(down, 1)

    drawn = []
    for (name, values), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        points = [
            (*place(u, v), f"{name}, {x_axis} {number(u)}: {number(v)}")
            for u, v in zip(xs, values, strict=True)
            if np.isfinite(v)
        ]
        drawn.append((name, colour, _path(xs, values, place), points))
    svg = render(
        "lines.svg",
        alt=f"{title or y_axis}: " + "; ".join(f"{name}, from {number(v[0])} to {number(v[-1])}, mean {number(_mean(v))}" for name, v in curves.items()) + ".",
        title=title or y_axis,
        drawn=drawn,
        width=_W,
        height=_H,
        left=_LEFT,
        right=_W - _RIGHT,
        top=_TOP,
        bottom=_H - _BOTTOM,
        y_ticks=[(place(x_low, v)[1], number(v)) for v in y_ticks],
        x_ticks=[(place(u, y_low)[0], number(u)) for u in x_ticks if x_low <= u <= x_high],
        marks=[(place(u, y_low)[0], name) for name, u in (marks or {}).items()],
        x_axis=x_axis,
        y_axis=y_axis,
    )  # fmt: skip
    html = render("lines.html", title=title, caption=caption, svg=svg, drawn=drawn)
    return Figure(title or y_axis, html, svg=svg)


def ticks(low: float | int, high: float | int, about: int = 5) -> list[float]:
    """Round numbers that enclose [low, high]: `ticks(0, 9.3) == [0, 2, 4, 6, 8, 10]`."""
    span = max(float(high - low), 1e-9)
    step = 10.0 ** math.floor(math.log10(span / about))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _path(xs: np.ndarray, values: np.ndarray, place: Callable[..., tuple[float, float]]) -> str:
    parts, pen_down = [], False
    for u, v in zip(xs, values, strict=True):
        if not np.isfinite(v):
            pen_down = False
            continue
        across, down = place(u, v)
        parts.append(f"{'L' if pen_down else 'M'}{across} {down}")
        pen_down = True
    return "".join(parts)
