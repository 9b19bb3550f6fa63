"""Curves over a shared axis."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._figure import Figure, render
from ._picture import Picture
from ._text import number

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 240.0, 52.0, 16.0, 12.0, 40.0
COLOURS = ("#0b5eaa", "#be410f", "#2b8a3e", "#8250df", "#9a6700")


def lines(
    series: Mapping[str, Any],
    *,
    x: Any = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    marks: Mapping[str, float | int] | None = None,
    log: bool = False,
    caption: str = "",
) -> Figure:
    """Draws one curve per entry of `series` (each `(point,)`), all over the same `x` (0, 1, 2 ... if left out).

    `bands` gives some of the series an interval, `{name: (low, high)}`, shaded behind the curve and
    told on hover. `marks` names values of `x` that get a vertical line. NaN breaks a curve. With
    `log`, x is positive and equal ratios are equally far. Hovering a point shows its value.
    """
    curves, xs = checked(series, x, bands)
    if log and not (xs > 0).all():
        raise ValueError(f"A logarithmic axis holds positive numbers; x has {xs.min():g}.")
    at = np.log if log else np.asarray
    finite = np.concatenate([v[np.isfinite(v)] for one in curves for v in one.arrays] + [np.zeros(1)])
    y_ticks, x_ticks = ticks(finite.min(), finite.max()), ticks(xs.min(), xs.max())
    if log:
        x_ticks = log_ticks(xs.min(), xs.max())
    y_low, y_high = y_ticks[0], y_ticks[-1]
    x_low, x_high = float(at(xs.min())), max(float(at(xs.max())), float(at(xs.min())) + 1e-9)

    def place(u: Any, v: Any) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (float(at(u)) - x_low) / (x_high - x_low)
        down = _TOP + (_H - _TOP - _BOTTOM) * (y_high - v) / (y_high - y_low)
        return round(across, 1), round(down, 1)

    drawn = []
    for one in curves:
        points = [
            (*place(u, v), f"{one.name}, {x_axis} {number(u)}: {one.said(i)}")
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
    return Figure(title or y_axis, html, svg=svg, picture=Picture("lines", (series,), options))


@dataclasses.dataclass(frozen=True)
class Curve:
    """One series with its colour and, where it has one, its interval."""

    name: str
    values: np.ndarray
    colour: str
    band: tuple[np.ndarray, np.ndarray] | None

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.values, *(self.band or ()))

    def said(self, i: int) -> str:
        text = number(self.values[i])
        return (
            text if self.band is None else f"{text} ({number(self.band[0][i])} to {number(self.band[1][i])})"
        )


def checked(
    series: Mapping[str, Any], x: Any, bands: Mapping[str, tuple[Any, Any]] | None
) -> tuple[list[Curve], np.ndarray]:
    """The curves and their shared `x`. Raises `ValueError` where lengths differ."""
    curves = {name: np.asarray(values, dtype=float) for name, values in series.items()}
    sizes = {name: values.shape for name, values in curves.items()}
    if not curves or len(set(sizes.values())) > 1 or any(v.ndim != 1 or not v.size for v in curves.values()):
        raise ValueError(f"lines draws one-dimensional series of one length; got {sizes}.")
    count = next(iter(sizes.values()))[0]
    xs = np.arange(count, dtype=float) if x is None else np.asarray(x, dtype=float)
    if xs.shape != (count,):
        raise ValueError(f"x holds one value per point of the series ({count}); got the shape {xs.shape}.")
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, band in (bands or {}).items():
        if name not in curves:
            raise ValueError(
                f"bands names {name!r}, which is no series; there are {', '.join(map(repr, curves))}."
            )
        arrays = [np.asarray(end, dtype=float) for end in band]
        if [end.shape for end in arrays] != [(count,)] * 2 or (arrays[0] > arrays[1]).any():
            raise ValueError(
                f"A band is a pair (low, high) with low <= high at each of the {count} points; that of {name!r} has the shapes {[end.shape for end in arrays]}."
            )
        found[name] = arrays[0], arrays[1]
    colours = _cycle(len(curves))
    return [
        Curve(name, values, colour, found.get(name))
        for (name, values), colour in zip(curves.items(), colours, strict=True)
    ], xs


def ticks(low: float | int, high: float | int, about: int = 5) -> list[float]:
    """Round numbers that enclose [low, high]: `ticks(0, 9.3) == [0, 2, 4, 6, 8, 10]`."""
    span = max(float(high - low), 1e-9)
    step = 10.0 ** math.floor(math.log10(span / about))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float | int, high: float | int, about: int = 9) -> list[float]:
    """Powers of 2, 4, 8 ... or of 10 in [low, high]: `log_ticks(1, 8) == [1, 2, 4, 8]`."""
    decades = math.log10(max(high / low, 1.0))
    base = 10.0 if decades > 4 else 2.0
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    every = max(1, -(-(last - first + 1) // about))
    return [base**i for i in range(first, last + 1, every)] or [float(low)]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


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
