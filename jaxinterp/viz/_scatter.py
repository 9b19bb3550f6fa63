"""Points over two axes, beside values that they are compared with."""

from collections.abc import Mapping

import numpy as np

from .._text import number
from ..typing import ArrayLike
from . import mpl
from ._curves import COLOURS
from ._figure import Figure
from ._picture import Picture
from ._points import checked_points
from ._render import render
from ._ticks import log_ticks, ticks

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM, _ARM = 640.0, 300.0, 52.0, 16.0, 12.0, 40.0, 2.5


def scatter(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    levels: Mapping[str, float | int] | None = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    log: bool = False,
    caption: str = "",
) -> Figure:
    """Draws the points of each entry of `series` as small crosses. The pointer on a point shows its numbers.

    **Arguments:**

    - `series`: pairs (x, y) by name, each `(point,)`. Points with NaN are left out; if all have it, the axes are empty.
    - `levels`: values of y by name; each gets a horizontal line with its name in place of the numbers.
    - `title`, `x_axis`, `y_axis`: the title of the figure and the names of its axes.
    - `log`: whether the axis of `x` is logarithmic. `x` is then positive.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    **Raises:** ValueError for x and y of different lengths, no points, and x of 0 or less with `log`.

    ```python
    ji.viz.scatter({"feature": ([1, 2, 4], [1.0, 0.5, 0.4])}, levels={"1/2": 0.5}, log=True)
    ```
    """
    points, every = checked_points(series, log)
    (low, at_least), (high, at_most) = every.min(0), every.max(0)
    values = [at_least, at_most, *(levels or {}).values()]
    rises = ticks(min(values), max(values))
    names = list((levels or {}).items()) or [(number(v), v) for v in rises]
    at = np.log if log else np.asarray
    x_low, x_high = float(at(low)), max(float(at(high)), float(at(low)) + 1e-9)

    def place(u: float | int, v: float | int) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (float(at(u)) - x_low) / (x_high - x_low)
        down = _TOP + (_H - _TOP - _BOTTOM) * (rises[-1] - v) / (rises[-1] - rises[0])
        return round(across, 1), round(down, 1)

    drawn = []
    for i, (name, pairs) in enumerate(points.items()):
        places = [place(u, v) for u, v in pairs]
        crosses = "".join(
            f"M{round(x - _ARM, 1)} {y}h{2 * _ARM}M{x} {round(y - _ARM, 1)}v{2 * _ARM}" for x, y in places
        )
        tips = [f"{name}, {x_axis} {number(u)}: {number(v)}" for u, v in pairs]
        found = [(*where, tip) for where, tip in zip(places, tips, strict=True)]
        drawn.append((name, COLOURS[i % len(COLOURS)], crosses, found, ""))
    across = log_ticks(low, high) if log else ticks(low, high)
    svg = render(
        "lines.svg",
        alt=f"{title or y_axis}: "
        + "; ".join(f"{name}, {len(pairs)} points" for name, pairs in points.items())
        + ".",
        title=title or y_axis,
        drawn=drawn,
        width=_W,
        height=_H,
        left=_LEFT,
        right=_W - _RIGHT,
        top=_TOP,
        bottom=_H - _BOTTOM,
        y_ticks=[(place(low, v)[1], name) for name, v in names],
        x_ticks=[(place(u, rises[0])[0], number(u)) for u in across if low <= u <= high],
        marks=[],
        x_axis=x_axis,
        y_axis=y_axis,
    )
    html = render("lines.html", title=title, caption=caption, svg=svg, drawn=drawn)
    options = {"levels": levels, "title": title, "x_axis": x_axis, "y_axis": y_axis, "log": log}
    return Figure(title or y_axis, html, svg=svg, picture=Picture(mpl.scatter, (series,), options))
