"""Histograms by class on matplotlib axes."""

from collections.abc import Mapping

import numpy as np

from ..._text import number, plain
from ...typing import ArrayLike, PlotAxes
from .._bins import bin_shares, share_ticks
from .._curves import COLOURS
from ._axes import axes, say


def histogram(
    counts: Mapping[str, ArrayLike],
    edges: ArrayLike,
    *,
    ax: PlotAxes | None = None,
    title: str = "",
    x_axis: str = "value",
    y_axis: str = "share",
    root: bool = True,
    marks: Mapping[str, float | int] | None = None,
) -> PlotAxes:
    """Draws one histogram per entry of `counts` onto `ax`.

    Arguments are those of `jaxinterp.viz.histogram`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.histogram({"German": [1, 9, 4], "other": [40, 3, 0]}, [0, 1, 2, 3], ax=ax)
    ```
    """
    shares, ends = bin_shares(counts, edges)
    ax = axes(ax)
    lift = np.sqrt if root else np.asarray
    for i, (name, share) in enumerate(shares.items()):
        colour = COLOURS[i % len(COLOURS)]
        # A name that begins with an underscore would be left out of the legend.
        label = f"\u200b{plain(name)}" if name.startswith("_") else plain(name)
        ax.stairs(lift(share), ends, color=colour, linewidth=1.6, label=label)
        ax.stairs(lift(share), ends, color=colour, fill=True, alpha=0.15)
    top = max(float(lift(share).max()) for share in shares.values()) or 1.0
    rises = share_ticks(top, root)
    ax.set_yticks([float(lift(v)) for v in rises], [f"{number(100 * v)}%" for v in rises])
    for name, u in (marks or {}).items():
        ax.axvline(u, color="#8c959f", linestyle="--", linewidth=1)
        ax.annotate(
            plain(name),
            (u, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize="small",
            parse_math=False,
        )
    if len(shares) > 1:
        for text in ax.legend(frameon=False).get_texts():
            text.set_parse_math(False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    say(ax, title=title, x_axis=x_axis, y_axis=y_axis)
    return ax
