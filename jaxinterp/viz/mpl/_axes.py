"""Axes to draw on, and text on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._text import plain, shorten, width
from ...typing import PlotAxes, PlotAxesLike

_LABEL = 18


def library() -> Any:
    """matplotlib, imported when something is drawn. Raises `ImportError` that says how to get it."""
    try:
        import matplotlib.axes
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            'viz.mpl draws with matplotlib: pip install "jaxinterp[viz]". The figures of viz itself '
            "need nothing: viz.heatmap(...).save(...)."
        ) from error
    return matplotlib


def axes(ax: PlotAxesLike | None) -> PlotAxes:
    """`ax`, or the axes of a new figure. Raises `TypeError` for anything that is no axes."""
    matplotlib = library()
    if ax is None:
        return matplotlib.pyplot.subplots()[1]
    one: Any = ax
    if not isinstance(one, matplotlib.axes.Axes):
        raise TypeError(
            f"ax is the matplotlib axes to draw on (fig, ax = plt.subplots()); got {type(ax).__name__}."
        )
    return one


def many_axes(ax: PlotAxesLike | None, count: int) -> list[PlotAxes]:
    """`count` axes, given as an array or a sequence, or those of a new figure."""
    if ax is None:
        ax = library().pyplot.subplots(1, count, squeeze=False)[1]
    several = [axes(one) for one in np.ravel(np.asarray(ax, dtype=object))]
    if len(several) != count:
        raise ValueError(
            f"ax holds one axes for each of the {count} pictures (fig, ax = plt.subplots(1, {count})); got {len(several)}."
        )
    return several


def say(ax: PlotAxes, *, title: str = "", x_axis: str = "", y_axis: str = "") -> None:
    """Title and axis labels; `$` is a character, not the start of a formula."""
    if title:
        ax.set_title(plain(title), parse_math=False)
    ax.set_xlabel(plain(x_axis), parse_math=False)
    ax.set_ylabel(plain(y_axis), parse_math=False)


def finish(ax: PlotAxes, *, legend: bool, title: str, x_axis: str, y_axis: str) -> PlotAxes:
    """The frame of curves and points: a legend, faint lines across, no box, title and labels."""
    if legend:
        for text in ax.legend(frameon=False).get_texts():
            text.set_parse_math(False)
    ax.grid(axis="y", alpha=0.3)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    say(ax, title=title, x_axis=x_axis, y_axis=y_axis)
    return ax


def label(axis: Any, names: Sequence[str], *, most: int = 40, slant: bool = False) -> None:
    """One tick per name, every second or third where there are many; long ones slanted."""
    every = max(1, -(-len(names) // most))
    at = list(range(0, len(names), every))
    short = [shorten(names[i], _LABEL) for i in at]
    slanted = slant and (max(map(width, short)) > 3 or len(at) > 20)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axis.set_ticks(at)
    axis.set_ticklabels(short, parse_math=False, **turned)
    axis.set_tick_params(length=0)
