"""Matrices as coloured cells, each with its row, column and value; one, or several side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from .._deprecations import respelled
from .._settings import takes_settings
from ..typing import ArrayLike, ArraysLike
from . import mpl
from ._cells import cells, panels
from ._colour import scale
from ._figure import Figure
from ._heatmap_drawing import HeatmapText, draw
from ._heatmap_settings import HeatmapSettings
from ._picture import Picture

_old = respelled(
    row_axis='axis_names=("row", "column")',
    col_axis='axis_names=("row", "column")',
    low="interval=(low, high)",
    high="interval=(low, high)",
    diverging="settings=ji.viz.HeatmapSettings(diverging=True)",
    limits="settings=ji.viz.HeatmapSettings(limits=(0, 1))",
    mark='settings=ji.viz.HeatmapSettings(mark="significant")',
    caption='settings=ji.viz.HeatmapSettings(caption="...")',
)


@_old
@takes_settings
def heatmap(
    values: ArrayLike,
    *,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    axis_names: tuple[str, str] = ("row", "column"),
    value: str = "value",
    title: str = "",
    marks: ArrayLike | None = None,
    interval: tuple[ArrayLike, ArrayLike] | None = None,
    settings: HeatmapSettings = HeatmapSettings(),
) -> Figure:
    """Draws `values` (row, col) as a heat map with labels, a colour bar and values on hover.

    **Arguments:**

    - `values`: a matrix (row, col); NaN is drawn as missing.
    - `rows`, `cols`: labels; numbers from 0 by default. Blanks and control characters of tokens are
        made visible.
    - `axis_names`: the names of rows and columns, such as `("layer", "position")`.
    - `value`: the name of the numbers.
    - `title`: the title of the figure.
    - `marks`: booleans (row, col); these cells get a dot.
    - `interval`: the ends (low, high) of an interval for each cell, each (row, col), shown on hover.
    - `settings`: colours, limits and caption; see `HeatmapSettings`.

    **Returns:** a `Figure`, which holds the numbers as a table too.

    !!! example
        ```python
        ji.viz.heatmap(np.eye(3), rows="abc", cols=[" the", " end", "\\n"], title="Identity")
        found = ji.patching.statistics(effects, baseline, key=key)      # effects (layer, pos, example)
        ji.viz.heatmap(found.mean, marks=found.significant(), interval=(found.low, found.high))
        ```
    """
    drawn = {"": cells(values, marks, interval)}
    ramp = scale(drawn[""].values, settings.diverging, settings.limits)
    words = HeatmapText(title, *axis_names, value, settings.mark, settings.caption)
    drawing = draw(drawn, rows, cols, ramp, words)
    options = {
        "rows": rows,
        "cols": cols,
        "axis_names": axis_names,
        "value": value,
        "title": title,
        "marks": marks,
        "settings": settings,
    }
    picture = Picture(mpl.heatmap, (values,), options, size=drawing.inches)
    return Figure(title or value, drawing.html, svg=drawing.svg, picture=picture)


@_old
@takes_settings
def heatmaps(
    values: ArraysLike,
    *,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    axis_names: tuple[str, str] = ("row", "column"),
    value: str = "value",
    title: str = "",
    marks: Mapping[str, ArrayLike] | None = None,
    interval: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    settings: HeatmapSettings = HeatmapSettings(),
) -> Figure:
    """Draws named matrices of one shape side by side, with one scale and one colour bar.

    **Arguments:**

    - `values`: matrices (row, col) by name.
    - `marks`, `interval`: as in `heatmap`, by the same names.
    - every other argument is as in `heatmap`, and all panels share it.

    **Returns:** a `Figure`.

    !!! example
        ```python
        effects = {
            site: ji.patching.sweep(model, clean, corrupt, metric, site=site) for site in ("resid_pre", "mlp_out")
        }
        words = tokenizer.tokens(clean)
        ji.viz.heatmaps(effects, axis_names=("layer", "token"), cols=words, value="logit difference")
        ```
    """
    drawn = panels(values, marks, interval)
    ramp = scale(np.concatenate([one.values for one in drawn.values()]), settings.diverging, settings.limits)
    words = HeatmapText(title, *axis_names, value, settings.mark, settings.caption)
    drawing = draw(drawn, rows, cols, ramp, words)
    options = {
        "rows": rows,
        "cols": cols,
        "axis_names": axis_names,
        "value": value,
        "marks": marks,
        "settings": settings,
    }
    picture = Picture(mpl.heatmaps, (values,), options, len(drawn), drawing.inches, several=True)
    return Figure(title or value, drawing.html, svg=drawing.svg, picture=picture)
