"""Attention patterns on matplotlib axes."""

from collections.abc import Sequence

import numpy as np

from ..._text import visible
from ...typing import ArrayLike, PlotAxes, PlotAxesLike
from .._pattern import checked_pattern, rgba
from ._axes import axes, label, many_axes, say


def attention(
    pattern: ArrayLike,
    tokens: Sequence[str],
    *,
    ax: PlotAxesLike | None = None,
    heads: Sequence[object] | None = None,
    title: str = "",
) -> PlotAxes | list[PlotAxes]:
    """Draws attention weights: `pattern` (query, key) onto `ax`, (head, query, key) onto one axes each.

    **Returns:** the axes, or the list of them. `heads` names the heads; `title` is that of a single
    pattern.

    ```python
    fig, ax = plt.subplots(1, 4)
    ji.viz.mpl.attention(acts["pattern[1]"], tokens, ax=ax)
    ```
    """
    pattern = np.asarray(pattern, dtype=float)
    alone = pattern.ndim == 2
    pattern, names = checked_pattern(pattern[None] if alone else pattern, tokens, heads)
    shown = [visible(token) for token in tokens]
    several = [axes(ax)] if alone else many_axes(ax, len(pattern))
    for i, (one, weights) in enumerate(zip(several, pattern, strict=True)):
        one.imshow(rgba(weights), interpolation="nearest")
        one.set_facecolor("white")
        label(one.xaxis, shown, slant=True)
        label(one.yaxis, shown if i == 0 else [""] * len(shown))
        heading = title if alone else names[i] if heads is not None else f"head {names[i]}"
        say(one, title=heading, x_axis="key", y_axis="query" if i == 0 else "")
    return several[0] if alone else several
