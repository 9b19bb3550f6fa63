"""A lens table on matplotlib axes."""

from collections.abc import Sequence

import numpy as np

from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._text import plain, shorten, visible
from ...typing import ArrayLike, LensReadLike, PlotAxes, TokenizerLike, WordsLike
from .._guesses import read_guesses
from .._heatmap_settings import HeatmapSettings
from ._axes import axes, label, say
from ._heatmap import ramp_colours

_TOKEN = 10


@respelled(
    diverging="settings=ji.viz.HeatmapSettings(diverging=True)",
    limits="settings=ji.viz.HeatmapSettings(limits=(0, 1))",
    bar="settings=ji.viz.HeatmapSettings(bar=False)",
)
@takes_settings
def lens_table(
    tokens: WordsLike,
    read: LensReadLike,
    probs: ArrayLike | None = None,
    *,
    ax: PlotAxes | None = None,
    tokenizer: TokenizerLike | None = None,
    layers: Sequence[object] | None = None,
    values: ArrayLike | str | None = None,
    value: str = "probability",
    title: str = "",
    settings: HeatmapSettings = HeatmapSettings(),
) -> PlotAxes:
    """Draws the likeliest token at every (layer, pos) onto `ax`, the last layer on top.

    Arguments are those of `jaxinterp.viz.lens_table`. Where there are several guesses, the first is written.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots(figsize=(12, 3))
    ji.viz.mpl.lens_table(tokens, ji.lens.summary(model, tokens), tokenizer=tokenizer, ax=ax)
    ```
    """
    found = read_guesses(tokens, read, probs, tokenizer, layers, values, value, None, settings)
    top, shade, ramp = found.top, found.shade, found.ramp
    ax = axes(ax)
    cmap, norm = ramp_colours(ramp)
    image = ax.imshow(shade, cmap=cmap, norm=norm, aspect="auto", origin="lower", interpolation="nearest")
    for layer, pos in np.ndindex(shade.shape):
        ax.text(
            pos,
            layer,
            shorten(visible(top[layer, pos, 0]), _TOKEN),
            ha="center",
            va="center",
            fontsize=7,
            color=ramp.mark(shade[layer, pos]).ink,
            parse_math=False,
        )
    label(ax.yaxis, found.layers)
    label(ax.xaxis, found.tokens, slant=True)
    say(ax, title=title, x_axis="token", y_axis=found.corner)
    if settings.bar:
        made = ax.figure.colorbar(image, ax=ax)
        made.set_label(plain(found.value), parse_math=False)
        made.outline.set_visible(False)
    return ax
