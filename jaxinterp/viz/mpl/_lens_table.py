"""A lens table on matplotlib axes."""

from collections.abc import Sequence

import numpy as np

from ..._text import plain, shorten, visible
from ...typing import ArrayLike, PlotAxes
from .._cells import labels
from .._guesses import checked_guesses
from ._axes import axes, label, say
from ._heatmap import colormap

_TOKEN = 10


def lens_table(
    tokens: Sequence[str],
    top_tokens: ArrayLike,
    probs: ArrayLike,
    *,
    ax: PlotAxes | None = None,
    layers: Sequence[object] | None = None,
    values: ArrayLike | None = None,
    value: str = "probability",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    title: str = "",
    bar: bool = True,
) -> PlotAxes:
    """Draws the top token at every (layer, pos), the last layer on top, and returns the axes.

    Arguments are those of `jaxinterp.viz.lens_table`; of several guesses the first is written.
    """
    top, _, shade, ramp = checked_guesses(tokens, top_tokens, probs, values, diverging, limits)
    names = labels(layers, len(top), "layers")
    ax = axes(ax)
    cmap, norm = colormap(ramp)
    image = ax.imshow(shade, cmap=cmap, norm=norm, aspect="auto", origin="lower", interpolation="nearest")
    for layer, pos in np.ndindex(shade.shape):
        strong = ramp.mark(shade[layer, pos]).percent > 55
        ax.text(
            pos,
            layer,
            shorten(visible(top[layer, pos, 0]), _TOKEN),
            ha="center",
            va="center",
            fontsize=7,
            color="#ffffff" if strong else "#24292f",
            parse_math=False,
        )
    label(ax.yaxis, names)
    label(ax.xaxis, [visible(token) for token in tokens], slant=True)
    say(ax, title=title, x_axis="token", y_axis="layer")
    if bar:
        made = ax.figure.colorbar(image, ax=ax)
        made.set_label(plain(value), parse_math=False)
        made.outline.set_visible(False)
    return ax
