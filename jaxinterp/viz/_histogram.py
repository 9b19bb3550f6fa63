"""Histograms over shared bins, one outline for each class."""

from collections.abc import Mapping

import numpy as np

from .._text import number
from ..typing import ArrayLike
from . import mpl
from ._bins import bin_shares, share_ticks
from ._curves import COLOURS
from ._figure import Figure
from ._picture import Picture
from ._render import render
from ._ticks import ticks

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 240.0, 52.0, 16.0, 12.0, 40.0


def histogram(
    counts: Mapping[str, ArrayLike],
    edges: ArrayLike,
    *,
    title: str = "",
    x_axis: str = "value",
    y_axis: str = "share",
    root: bool = True,
    marks: Mapping[str, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws one histogram per entry of `counts`, each as shares of its own total.

    Classes of different size can therefore be compared. The pointer on a bin shows its range and share.

    **Arguments:**

    - `counts`: numbers `(bin,)` by class.
    - `edges`: the ends `(bin + 1,)` of all bins, rising.
    - `title`, `x_axis`, `y_axis`: the title of the figure and the names of its axes.
    - `root`: draws the square root of a share, so that a rare tail stays visible; true by default.
        The axis is labelled with shares.
    - `marks`: values of x by name; each gets a vertical line.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    ```python
    ji.viz.histogram({"German": [1, 9, 4], "other": [40, 3, 0]}, [0, 1, 2, 3])
    ```
    """
    shares, ends = bin_shares(counts, edges)
    lift = np.sqrt if root else np.asarray
    top = max(float(lift(share).max()) for share in shares.values()) or 1.0
    low, high = float(ends[0]), float(ends[-1])

    def place(u: ArrayLike, v: ArrayLike) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (np.asarray(u) - low) / (high - low)
        return round(float(across), 1), round(
            float(_H - _BOTTOM - (_H - _TOP - _BOTTOM) * np.asarray(v) / top), 1
        )

    drawn = []
    for i, (name, share) in enumerate(shares.items()):
        corners = [place(low, 0.0)]
        for b, v in enumerate(lift(share)):
            corners += [place(ends[b], v), place(ends[b + 1], v)]
        path = "M" + "L".join(f"{u} {v}" for u, v in [*corners, place(high, 0.0)])
        points = [
            (
                *place((ends[b] + ends[b + 1]) / 2, lift(v)),
                f"{name}, {number(ends[b])} to {number(ends[b + 1])}: {number(100 * v)}%",
            )
            for b, v in enumerate(share)
            if v > 0
        ]
        drawn.append((name, COLOURS[i % len(COLOURS)], path, points, path))
    words = "; ".join(
        f"{name}, most often near {number(_mode(share, ends))}" for name, share in shares.items()
    )
    rises = [v for v in share_ticks(top, root) if lift(v) <= top * 1.001]
    svg = render(
        "lines.svg",
        alt=f"{title or y_axis}: {words}.",
        title=title or y_axis,
        drawn=drawn,
        width=_W,
        height=_H,
        left=_LEFT,
        right=_W - _RIGHT,
        top=_TOP,
        bottom=_H - _BOTTOM,
        y_ticks=[(place(low, lift(v))[1], f"{number(100 * v)}%") for v in rises],
        x_ticks=[(place(u, 0)[0], number(u)) for u in ticks(low, high) if low <= u <= high],
        marks=[(place(u, 0)[0], name) for name, u in (marks or {}).items() if low <= u <= high],
        x_axis=x_axis,
        y_axis=y_axis,
    )
    html = render("lines.html", title=title, caption=caption, svg=svg, drawn=drawn)
    options = {
        "title": title,
        "x_axis": x_axis,
        "y_axis": y_axis,
        "root": root,
        "marks": marks,
    }
    picture = Picture(mpl.histogram, (counts, edges), options)
    return Figure(title or y_axis, html, svg=svg, picture=picture)


def _mode(share: np.ndarray, ends: np.ndarray) -> float:
    b = int(share.argmax())
    return float((ends[b] + ends[b + 1]) / 2)
