"""Attention patterns on matplotlib axes."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...typing import MaskLike, PatternLike, PlotAxes, PlotAxesLike
from .._pattern import read_pattern, rgba
from ._axes import axes, label, many_axes, say


def attention(
    pattern: PatternLike,
    tokens: Sequence[str],
    *,
    ax: PlotAxesLike | None = None,
    heads: Sequence[object] | None = None,
    layers: Sequence[object] | None = None,
    mask: MaskLike | None = None,
    title: str = "",
) -> PlotAxes | list[PlotAxes]:
    """Draws attention weights: one pattern (query, key) onto `ax`, several heads onto one axes each.

    Arguments are those of `jaxinterp.viz.attention`; `title` is the title of a single pattern.

    **Returns:** the axes, or a list of axes for several heads.

    ```python
    _, acts = ji.run(model, tokens, capture=["pattern[1]"])
    fig, ax = plt.subplots(1, 5)
    ji.viz.mpl.attention(acts["pattern[1]"], tokenizer.tokens(tokens), ax=ax)
    ```
    """
    alone = not isinstance(pattern, Mapping) and np.ndim(pattern) == 2
    read = read_pattern(pattern, tokens, heads, layers, mask)
    shown, names = read.tokens, read.heads
    several = [axes(ax)] if alone else many_axes(ax, len(names))
    for i, (one, weights) in enumerate(zip(several, read.weights, strict=True)):
        one.imshow(rgba(weights), interpolation="nearest")
        one.set_facecolor("white")
        label(one.xaxis, shown, slant=True)
        label(one.yaxis, shown if i == 0 else [""] * len(shown))
        heading = title if alone else names[i] if heads is not None or read.layers[i] else f"head {names[i]}"
        say(one, title=heading, x_axis="key", y_axis="query" if i == 0 else "")
    return several[0] if alone else several
