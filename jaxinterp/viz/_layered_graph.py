"""A graph in layers: nodes in rows, weighted edges between them, thinned out by a slider."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arguments import as_int
from .._text import number
from ..typing import IntLike
from ._figure import Figure
from ._render import render

_WIDE, _TALL, _NODE, _ROUND = 58.0, 74.0, 46.0, 20.0


def layered_graph(
    nodes: Mapping[str, float | int],
    edges: Sequence[tuple[str, str, float | int, str]],
    *,
    top: IntLike = 200,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws nodes in rows by their layer, the first at the bottom, and an arc for each edge.

    Hovering an edge or a node shows its text. Choosing a node, by a click or the keyboard, leaves the edges
    that touch it; a slider leaves the strongest ones. Edges with a positive weight are blue, others orange,
    and stronger ones are wider.

    **Arguments:**

    - `nodes`: layers by name, any numbers: equal ones are a row.
    - `edges`: `(from, to, weight, text)`.
    - `top`: how many edges are drawn at most, the strongest ones; 200 by default.
    - `title`: what the figure is.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    **Raises:** ValueError for an edge of an unknown node or with a weight that is not finite.

    ```python
    ji.viz.layered_graph({"a": 0, "b": 1, "c": 1}, [("a", "b", 1.0, "a to b"), ("a", "c", -0.5, "a to c")])
    ```
    """
    most = as_int(top, "top", 1)
    for source, target, weight, _ in edges:
        if source not in nodes or target not in nodes:
            raise ValueError(
                f"The edge {source!r} to {target!r} joins nodes that are not given: {list(nodes)[:5]}."
            )
        if not np.isfinite(weight):
            raise ValueError(
                f"The edge {source!r} to {target!r} has the weight {weight}, which is not finite."
            )
    if not nodes:
        raise ValueError("layered_graph draws at least one node: {'embed': 0, 'logits': 1}.")
    shown = sorted(edges, key=lambda edge: -abs(edge[2]))[:most]
    rows: dict[float, list[str]] = {}
    for name, layer in nodes.items():
        rows.setdefault(float(layer), []).append(name)
    across = max(len(row) for row in rows.values())
    width, height = max(across * _WIDE, 2 * _WIDE) + _WIDE, len(rows) * _TALL + _ROUND
    place: dict[str, tuple[float, float]] = {}
    for level, (_, row) in enumerate(sorted(rows.items())):
        for i, name in enumerate(row):
            place[name] = (
                width / 2 + (i - (len(row) - 1) / 2) * _WIDE,
                height - _TALL * (level + 0.5) - _ROUND / 2,
            )
    largest = max([abs(edge[2]) for edge in shown], default=1.0) or 1.0
    arcs = [_arc(rank, edge, place, largest) for rank, edge in enumerate(shown)]
    name = title or "Graph"
    alt = (
        f"{name}: {len(nodes)} nodes in {len(rows)} layers, {len(shown)} of {len(edges)} edges. "
        + "; ".join(f"{source} to {target} {number(weight)}" for source, target, weight, _ in shown[:10])
    )
    html = render(
        "layered_graph.html",
        title=title,
        caption=caption,
        alt=alt,
        width=width,
        height=height,
        nodes=[{"name": node, "x": x, "y": y} for node, (x, y) in place.items()],
        # The strongest lie on top.
        arcs=arcs[::-1],
        count=len(shown),
        node=_NODE,
        round=_ROUND,
    )
    return Figure(name, html)


def _arc(
    rank: int,
    edge: tuple[str, str, float | int, str],
    place: Mapping[str, tuple[float, float]],
    largest: float,
) -> dict[str, Any]:
    source, target, weight, text = edge
    (x0, y0), (x1, y1) = place[source], place[target]
    y0, y1 = y0 - _ROUND / 2, y1 + _ROUND / 2
    bend = (y0 - y1) / 2
    share = abs(weight) / largest
    return {
        "rank": rank,
        "source": source,
        "target": target,
        "d": f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 - bend:.1f} {x1:.1f} {y1 + bend:.1f} {x1:.1f} {y1:.1f}",
        "width": round(0.8 + 4 * share, 2),
        "side": "high" if weight >= 0 else "low",
        "colour": "#0b5eaa" if weight >= 0 else "#be410f",
        "opacity": round(0.35 + 0.65 * share, 2),
        "tip": f"{text}: {number(weight)}",
    }
