"""Where the nodes and edges of a graph in layers are drawn."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .._arguments import as_int
from ..typing import IntLike

NODE, ROUND = 46.0, 20.0
"Width and height of a node."
COLOURS = ("#be410f", "#0b5eaa")
"Colours of edges with negative and with positive weights."
_WIDE, _TALL, _BEND = 58.0, 74.0, 13.0

WeightedEdge = tuple[str, str, float | int, str]
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class LayeredPlaces:
    """The middle of each node, the strongest edges first, and the size of the drawing; y grows downwards."""

    place: Mapping[str, Point]
    edges: Sequence[WeightedEdge]
    rows: int
    width: float
    height: float


def layered(nodes: Mapping[str, float | int], edges: Sequence[WeightedEdge], top: IntLike) -> LayeredPlaces:
    """The checked graph: nodes in rows by their layer, the first at the bottom, and the `top` strongest edges."""
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
    rows: dict[float, list[str]] = {}
    for name, layer in nodes.items():
        rows.setdefault(float(layer), []).append(name)
    # Room at both sides for edges that bend around what lies between their ends.
    width = (max(len(row) for row in rows.values()) + 2) * _WIDE
    height = (len(rows) - 1) * _TALL + 2 * ROUND
    place = {
        name: (width / 2 + (i - (len(row) - 1) / 2) * _WIDE, height - _TALL * level - ROUND)
        for level, (_, row) in enumerate(sorted(rows.items()))
        for i, name in enumerate(row)
    }
    shown = sorted(edges, key=lambda edge: -abs(edge[2]))[:most]
    return LayeredPlaces(place, shown, len(rows), width, height)


def arc(source: Point, target: Point, weight: float | int) -> list[Point]:
    """The four points of a Bezier curve; one past other rows bends to the side of its sign."""
    (x0, y0), (x1, y1) = source, target
    y0, y1 = y0 - ROUND / 2, y1 + ROUND / 2
    bend = (y0 - y1) / 2
    past = min(max(abs(source[1] - target[1]) / _TALL - 1, 0), 6)
    aside = _BEND * past * (1 if weight >= 0 else -1)
    return [(x0, y0), (x0 + aside, y0 - bend), (x1 + aside, y1 + bend), (x1, y1)]
