"""Directions of features on matplotlib axes."""

from collections.abc import Mapping

import numpy as np

from ..._text import plain
from ...typing import ArrayLike, PlotAxes, PlotAxesLike
from .._colour import scale
from .._curves import COLOURS
from .._points import checked_directions
from ._axes import many_axes, say


def directions(
    panels: Mapping[str, ArrayLike],
    *,
    ax: PlotAxesLike | None = None,
    shade: Mapping[str, ArrayLike] | None = None,
    title: str = "",
) -> list[PlotAxes]:
    """Draws the rows of each panel onto one axes: rows of two numbers as arrows, others as bars of their norms.

    Arguments are those of `jaxinterp.viz.directions`; `ax` holds one axes for each panel.

    **Returns:** the list of axes.

    ```python
    ji.viz.mpl.directions({"digon": [[1, 0], [-1, 0]], "one": [[0, 1], [0, 0]]})
    ```
    """
    rows, shades = checked_directions(panels, shade)
    drawn = many_axes(ax, len(rows))
    every = np.concatenate([*shades.values()]) if shades else np.zeros(1)
    colours = scale(np.append(every, 0.0), diverging=False)
    reach = 1.05 * max(1.0, *(float(np.linalg.norm(values, axis=1).max()) for values in rows.values()))
    for one, (name, values) in zip(drawn, rows.items(), strict=True):
        if values.shape[1] == 2:
            turn = np.linspace(0, 2 * np.pi, 100)
            one.plot(np.cos(turn), np.sin(turn), color="#8c959f", linewidth=0.8)
            for i, (x, y) in enumerate(values):
                colour = COLOURS[i % len(COLOURS)]
                one.plot([0, x], [0, y], color=colour, linewidth=1.6, marker="o", markevery=[1], markersize=3)
            one.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            one.set_axis_off()
        else:
            shown = shades.get(name, np.zeros(len(values)))
            fill = [colours.mark(value).hex for value in shown] if shades else COLOURS[0]
            one.bar(np.arange(len(values)), np.linalg.norm(values, axis=1), color=fill)
            one.set_ylim(0, reach)
            for side in ("top", "right"):
                one.spines[side].set_visible(False)
        say(one, title=name)
    if title and drawn:
        drawn[0].figure.suptitle(plain(title), parse_math=False)
    return drawn
