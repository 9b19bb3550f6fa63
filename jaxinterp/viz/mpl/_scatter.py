"""Points on matplotlib axes."""

from collections.abc import Mapping

from ..._text import number, plain
from ...typing import ArrayLike, PlotAxes
from .._curves import COLOURS
from .._points import checked_points
from .._ticks import log_ticks
from ._axes import axes, finish
from ._lines import legend_name


def scatter(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    ax: PlotAxes | None = None,
    levels: Mapping[str, float | int] | None = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    log: bool = False,
) -> PlotAxes:
    """Draws the points of each entry of `series` as small crosses onto `ax`.

    Arguments are those of `jaxinterp.viz.scatter`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.scatter({"feature": ([1, 2, 4], [1.0, 0.5, 0.4])}, levels={"1/2": 0.5}, ax=ax)
    ```
    """
    points, every = checked_points(series, log)
    ax = axes(ax)
    for i, (name, pairs) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        ax.plot(pairs[:, 0], pairs[:, 1], "+", color=colour, markersize=5, label=legend_name(name))
    if log:
        at = log_ticks(every[:, 0].min(), every[:, 0].max())
        ax.set_xscale("log", base=2)
        ax.set_xticks(at, [number(u) for u in at], minor=False)
        ax.minorticks_off()
    if levels:
        ax.set_yticks(list(levels.values()))
        ax.set_yticklabels([plain(name) for name in levels], parse_math=False)
    return finish(ax, legend=len(points) > 1, title=title, x_axis=x_axis, y_axis=y_axis)
