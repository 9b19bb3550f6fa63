"""Histograms over shared bins, one outline for each class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._figure import Figure, render
from ._lines import COLOURS, ticks
from ._picture import Picture
from ._text import number

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 240.0, 52.0, 16.0, 12.0, 40.0


def histogram(
    counts: Mapping[str, Any],
    edges: Any,
    *,
    title: str = "",
    x_axis: str = "value",
    y_axis: str = "share",
    root: bool = True,
    marks: Mapping[str, float | int] | None = None,
    caption: str = "",
) -> Figure:
    """Draws one histogram per entry of `counts` (each `(bin,)`) over the same `edges` `(bin + 1,)`.

    Each is drawn as shares of its own total, so that classes of different size compare. `root` draws
    the square root of a share, by which a rare tail stays visible; the axis is labelled with shares.
    `marks` names values that get a vertical line. Hovering a bin tells its range and share.
    """
    shares, ends = shared(counts, edges)
    lift = np.sqrt if root else np.asarray
    top = max(float(lift(share).max()) for share in shares.values()) or 1.0
    low, high = float(ends[0]), float(ends[-1])

    def place(u: Any, v: Any) -> tuple[float, float]:
        across = _LEFT + (_W - _LEFT - _RIGHT) * (u - low) / (high - low)
        return round(float(across), 1), round(float(_H - _BOTTOM - (_H - _TOP - _BOTTOM) * v / top), 1)

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
    said = "; ".join(
        f"{name}, most often near {number(_mode(share, ends))}" for name, share in shares.items()
    )
    rises = [v for v in share_ticks(top, root) if lift(v) <= top * 1.001]
    svg = render(
        "lines.svg",
        alt=f"{title or y_axis}: {said}.",
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
    picture = Picture("histogram", (counts, edges), options)
    return Figure(title or y_axis, html, svg=svg, picture=picture)


def shared(counts: Mapping[str, Any], edges: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Shares of each class, and the edges. Raises `ValueError` where their lengths differ."""
    ends = np.asarray(edges, float)
    found = {name: np.asarray(each, float) for name, each in counts.items()}
    fits = ends.ndim == 1 and len(ends) > 1 and all(x.shape == (len(ends) - 1,) for x in found.values())
    if not found or not fits or not (np.diff(ends) > 0).all():
        shapes = {name: x.shape for name, x in found.items()}
        raise ValueError(
            "histogram draws counts (bin,) over rising edges (bin + 1,); got edges of the shape "
            f"{ends.shape} and counts {shapes}."
        )
    if any((x < 0).any() or not np.isfinite(x).all() for x in found.values()):
        raise ValueError("Counts are finite numbers of at least 0.")
    return {name: x / (x.sum() or 1.0) for name, x in found.items()}, ends


def share_ticks(top: float, root: bool) -> list[float]:
    """Shares to write beside the axis, up to the height `top` (of which a root is drawn)."""
    most = top**2 if root else top
    if not root:
        return [v for v in ticks(0, most) if v <= most]
    return [0.0] + [round(most * part, 1 + int(-np.floor(np.log10(most)))) for part in (1 / 16, 0.25, 0.5, 1)]


def _mode(share: np.ndarray, ends: np.ndarray) -> float:
    b = int(share.argmax())
    return float((ends[b] + ends[b + 1]) / 2)
