"""A graph in layers: nodes in rows, weighted edges between them, thinned out by a slider."""

from collections.abc import Mapping, Sequence
from typing import Any

from .._text import number
from ..typing import IntLike
from . import mpl
from ._figure import Figure
from ._layers import COLOURS, NODE, ROUND, arc, layered
from ._picture import Picture
from ._render import render


def layered_graph(
    nodes: Mapping[str, float | int],
    edges: Sequence[tuple[str, str, float | int, str]],
    *,
    top: IntLike = 200,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws nodes in rows by their layer, the first at the bottom, and an arc for each edge.

    The pointer on an edge or a node shows its text. A node that is chosen by a click or the keyboard shows only the
    edges that touch it. A slider shows only the strongest edges. Edges with a positive weight are blue and bend to the
    right; others are orange and bend to the left. Stronger edges are wider.

    **Arguments:**

    - `nodes`: the layer of each node, by its name. Nodes with equal numbers stand in one row.
    - `edges`: `(from, to, weight, text)`.
    - `top`: the largest number of edges that are drawn, the strongest ones; 200 by default.
    - `title`: the title of the figure.
    - `caption`: a sentence below the figure.

    **Returns:** a `Figure`.

    **Raises:** ValueError for an edge of an unknown node or with a weight that is not finite.

    ```python
    ji.viz.layered_graph({"a": 0, "b": 1, "c": 1}, [("a", "b", 1.0, "a to b"), ("a", "c", -0.5, "a to c")])
    ```
    """
    layout = layered(nodes, edges, top)
    shown, place = layout.edges, layout.place
    largest = max([abs(edge[2]) for edge in shown], default=1.0) or 1.0
    arcs = [_arc(rank, edge, place, largest) for rank, edge in enumerate(shown)]
    name = title or "Graph"
    alt = (
        f"{name}: {len(nodes)} nodes in {layout.rows} layers, {len(shown)} of {len(edges)} edges. "
        + "; ".join(f"{source} to {target} {number(weight)}" for source, target, weight, _ in shown[:10])
    )
    html = render(
        "layered_graph.html",
        title=title,
        caption=caption,
        alt=alt,
        width=layout.width,
        height=layout.height,
        nodes=[{"name": node, "x": x, "y": y} for node, (x, y) in place.items()],
        # The strongest lie on top.
        arcs=arcs[::-1],
        count=len(shown),
        signs=[any(edge[2] >= 0 for edge in shown), any(edge[2] < 0 for edge in shown)],
        node=NODE,
        round=ROUND,
    )
    options = {"top": top, "title": title}
    size = (max(3.0, layout.width / 90), max(3.0, layout.height / 90))
    return Figure(name, html, picture=Picture(mpl.layered_graph, (nodes, edges), options, size=size))


def _arc(
    rank: int,
    edge: tuple[str, str, float | int, str],
    place: Mapping[str, tuple[float, float]],
    largest: float,
) -> dict[str, Any]:
    source, target, weight, text = edge
    share = abs(weight) / largest
    (x0, y0), *between, (x1, y1) = arc(place[source], place[target], weight)
    middle = " ".join(f"{x:.1f} {y:.1f}" for x, y in between)
    return {
        "rank": rank,
        "source": source,
        "target": target,
        "d": f"M{x0:.1f} {y0:.1f}C{middle} {x1:.1f} {y1:.1f}",
        "width": round(0.8 + 4 * share, 2),
        "side": "high" if weight >= 0 else "low",
        "colour": COLOURS[weight >= 0],
        "opacity": round(0.35 + 0.65 * share, 2),
        "tip": f"{text}: {number(weight)}",
    }
