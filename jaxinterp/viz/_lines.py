"""Curves over a shared axis."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from .._text import number
from ..typing import ArrayLike
from . import mpl
from ._curves import Curve, checked_curves
from ._figure import Figure
from ._picture import Picture
from ._render import render
from ._ticks import log_ticks, ticks

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 240.0, 52.0, 16.0, 12.0, 40.0


def lines(
    series: Mapping[str, ArrayLike],
    *,
    x: ArrayLike | None = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    marks: Mapping[str, float | int] | None = None,
    log: bool = False,
    caption: str = "",
) -> Figure:
    """Draws one curve per entry of `series`, all over the same `x`. The pointer on a point shows its value.

    **Arguments:**

    - `series`: numbers `(point,)` by name; NaN breaks a curve.
    - `x`: `(point,)`, shared by all curves; 0, 1, 2 ... by default.
    - `title`, `x_axis`, `y_axis`: the title of the figure and the names of its axes.
    - `bands`: intervals `{name: (low, high)}` of some of the series, each `(point,)`, shaded behind
        the curve and shown on hover.
    - `marks`: values of `x` by name; each gets a vertical line.
    - `log`: whether the axis of `x` is logarithmic. `x` is then positive.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    ```python
    ji.viz.lines({"loss": [2.0, 1.2, 0.9]}, x_axis="step", y_axis="nats")
    ```
    """
    curves, xs = checked_curves(series, x, bands)
    if log and not (xs > 0).all():
        raise ValueError(f"A logarithmic axis holds positive numbers; x has {xs.min():g}.")
    at = np.log if log else np.asarray
    finite = np.concatenate([v[np.isfinite(v)] for one in curves for v in one.arrays] + [np.zeros(1)])
    y_ticks, x_ticks = ticks(finite.min(), finite.max()), ticks(xs.min(), xs.max())
    if log:
        x_ticks = log_ticks(xs.min(), xs.max())
    y_low, y_high = y_ticks[0], y_ticks[-1]
    x_low, x_high = float(at(xs.min())), max(float(at(xs.max())), float(at(xs.min())) + 1e-9)

    def place(u: float | int, v: float | int) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (float(at(u)) - x_low) / (x_high - x_low)
        down = _TOP + (_H - _TOP - _BOTTOM) * (y_high - v) / (y_high - y_low)
        return round(across, 1), round(down, 1)

    drawn = []
    for one in curves:
        points = [
            (*place(u, v), f"{one.name}, {x_axis} {number(u)}: {one.describe(i)}")
            for i, (u, v) in enumerate(zip(xs, one.values, strict=True))
            if np.isfinite(v)
        ]
        path, band = _path(xs, one.values, place), _band(xs, one, place)
        drawn.append((one.name, one.colour, path, points, band))
    svg = render(
        "lines.svg",
        alt=f"{title or y_axis}: "
        + "; ".join(
            f"{one.name}, from {number(one.values[0])} to {number(one.values[-1])}, mean {number(_mean(one.values))}"
            for one in curves
        )
        + ".",
        title=title or y_axis,
        drawn=drawn,
        width=_W,
        height=_H,
        left=_LEFT,
        right=_W - _RIGHT,
        top=_TOP,
        bottom=_H - _BOTTOM,
        y_ticks=[(place(xs.min(), v)[1], number(v)) for v in y_ticks],
        x_ticks=[(place(u, y_low)[0], number(u)) for u in x_ticks if xs.min() <= u <= xs.max()],
        marks=[(place(u, y_low)[0], name) for name, u in (marks or {}).items()],
        x_axis=x_axis,
        y_axis=y_axis,
    )
    html = render("lines.html", title=title, caption=caption, svg=svg, drawn=drawn)
    options = {
        "x": x,
        "title": title,
        "x_axis": x_axis,
        "y_axis": y_axis,
        "bands": bands,
        "marks": marks,
        "log": log,
    }
    return Figure(title or y_axis, html, svg=svg, picture=Picture(mpl.lines, (series,), options))


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


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


def _band(xs: np.ndarray, one: Curve, place: Callable[..., tuple[float, float]]) -> str:
    """The outline of the interval: along its upper end, and back along the lower one."""
    if one.band is None:
        return ""
    known = np.isfinite(one.band[0]) & np.isfinite(one.band[1])
    outlines = []
    for part in np.split(np.arange(len(xs)), np.flatnonzero(np.diff(known)) + 1):
        if known[part[0]]:
            around = [place(xs[i], one.band[1][i]) for i in part]
            around += [place(xs[i], one.band[0][i]) for i in reversed(part)]
            outlines.append("M" + "L".join(f"{u} {v}" for u, v in around) + "Z")
    return "".join(outlines)
