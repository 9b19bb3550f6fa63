"""A graph in layers on matplotlib axes."""

from collections.abc import Mapping, Sequence

from ..._text import plain
from ...typing import IntLike, PlotAxes
from .._layers import COLOURS, NODE, ROUND, arc, layered
from ._axes import axes, library, say


def layered_graph(
    nodes: Mapping[str, float | int],
    edges: Sequence[tuple[str, str, float | int, str]],
    *,
    ax: PlotAxes | None = None,
    top: IntLike = 200,
    title: str = "",
) -> PlotAxes:
    """Draws nodes in rows by their layer, and an arc for each edge, onto `ax`.

    Arguments are those of `jaxinterp.viz.layered_graph`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.layered_graph({"a": 0, "b": 1}, [("a", "b", 1.0, "a to b")], ax=ax)
    ```
    """
    layout = layered(nodes, edges, top)
    ax = axes(ax)
    matplotlib = library()
    from matplotlib.patches import FancyBboxPatch, PathPatch

    largest = max([abs(edge[2]) for edge in layout.edges], default=1.0) or 1.0
    # The strongest lie on top.
    for source, target, weight, _ in layout.edges[::-1]:
        points = arc(layout.place[source], layout.place[target], weight)
        share, kind = abs(weight) / largest, matplotlib.path.Path
        curve = kind(points, [kind.MOVETO, *[kind.CURVE4] * 3])
        colour, strength = COLOURS[weight >= 0], 0.35 + 0.65 * share
        ax.add_patch(
            PathPatch(curve, fill=False, edgecolor=colour, alpha=strength, linewidth=0.6 + 3 * share)
        )
    for name, (x, y) in layout.place.items():
        corner, size = (x - NODE / 2, y - ROUND / 2), (NODE, ROUND)
        box = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=5", linewidth=0.8)
        box.set(facecolor="#f6f8fa", edgecolor="#57606a", zorder=2)
        ax.add_patch(box)
        text = {"ha": "center", "va": "center", "fontsize": 7, "family": "monospace", "zorder": 3}
        ax.text(x, y, plain(name), parse_math=False, **text)
    ax.set_xlim(0, layout.width)
    ax.set_ylim(layout.height, 0)
    ax.set_aspect("equal")
    ax.set_axis_off()
    say(ax, title=title)
    return ax
