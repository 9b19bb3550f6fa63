"""Heat maps on matplotlib axes, in the colours of the HTML ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._text import plain
from ...typing import ArrayLike, ArraysLike, PlotAxes, PlotAxesLike
from .._cells import Cells, CellText, cells, labels, numbers_inside, panels
from .._colour import Scale, scale
from .._heatmap_settings import HeatmapSettings
from ._axes import axes, label, many_axes, say


@takes_settings
def colormap(values: ArrayLike, *, settings: HeatmapSettings = HeatmapSettings()) -> tuple[Any, Any]:
    """The colours of a heat map of these values, as matplotlib's pair (colormap, norm).

    **Arguments:**

    - `values`: numbers of any shape, from which the ends of the scale are taken.
    - `settings`: its `diverging` and `limits` are used; see `HeatmapSettings`.

    **Returns:** the colormap and the norm.

    ```python
    cmap, norm = ji.viz.mpl.colormap(heat)
    plt.imshow(heat, cmap=cmap, norm=norm)
    ```

    Law: these are the colours of `heatmap`.
    """
    return ramp_colours(scale(np.asarray(values), settings.diverging, settings.limits))


def ramp_colours(ramp: Scale) -> tuple[Any, Any]:
    """A scale as matplotlib's pair (colormap, norm)."""
    from matplotlib.colors import ListedColormap, Normalize

    steps = np.linspace(ramp.low, ramp.high, 513)
    cmap = ListedColormap([ramp.mark(value).hex for value in steps])
    return cmap.with_extremes(bad=ramp.mark(np.nan).hex), Normalize(ramp.low, ramp.high)


@respelled(
    row_axis='axis_names=("row", "column")',
    col_axis='axis_names=("row", "column")',
    diverging="settings=ji.viz.HeatmapSettings(diverging=True)",
    limits="settings=ji.viz.HeatmapSettings(limits=(0, 1))",
    bar="settings=ji.viz.HeatmapSettings(bar=False)",
)
@takes_settings
def heatmap(
    values: ArrayLike,
    *,
    ax: PlotAxes | None = None,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    axis_names: tuple[str, str] = ("row", "column"),
    value: str = "value",
    title: str = "",
    marks: ArrayLike | None = None,
    settings: HeatmapSettings = HeatmapSettings(),
) -> PlotAxes:
    """Draws the matrix `values` (row, col) as a heat map onto `ax`.

    Arguments are those of `jaxinterp.viz.heatmap`; cells of `marks` have a dot. Without `ax` a new
    figure is made. `settings` with `bar=False` leaves the colour bar out.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.heatmap(heat, ax=ax, axis_names=("layer", "position"), marks=heat > 1)
    fig.savefig("sweep.pdf")
    ```
    """
    one = cells(values, marks)
    names = labels(rows, one.values.shape[0], "rows"), labels(cols, one.values.shape[1], "cols")
    ramp = scale(one.values, settings.diverging, settings.limits)
    ax = axes(ax)
    form = numbers_inside([one], ramp)
    image = _draw(ax, one, ramp, *names, form)
    say(ax, title=title, x_axis=axis_names[1], y_axis=axis_names[0])
    if settings.bar:
        _bar(image, [ax], value, form)
    return ax


@respelled(
    row_axis='axis_names=("row", "column")',
    col_axis='axis_names=("row", "column")',
    diverging="settings=ji.viz.HeatmapSettings(diverging=True)",
    limits="settings=ji.viz.HeatmapSettings(limits=(0, 1))",
    bar="settings=ji.viz.HeatmapSettings(bar=False)",
)
@takes_settings
def heatmaps(
    values: ArraysLike,
    *,
    ax: PlotAxesLike | None = None,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    axis_names: tuple[str, str] = ("row", "column"),
    value: str = "value",
    marks: Mapping[str, ArrayLike] | None = None,
    settings: HeatmapSettings = HeatmapSettings(),
) -> list[PlotAxes]:
    """Draws named matrices of one shape onto one axes each, with one scale and one colour bar.

    Arguments are those of `jaxinterp.viz.heatmaps`; `ax` holds one axes for each matrix.

    **Returns:** the list of axes.

    ```python
    fig, ax = plt.subplots(1, 2)
    ji.viz.mpl.heatmaps({"identity": np.eye(4), "ones": np.ones((4, 4))}, ax=ax)
    ```
    """
    drawn = panels(values, marks)
    shape = next(iter(drawn.values())).values.shape
    names = labels(rows, shape[0], "rows"), labels(cols, shape[1], "cols")
    ramp = scale(np.concatenate([one.values for one in drawn.values()]), settings.diverging, settings.limits)
    several, image = many_axes(ax, len(drawn)), None
    form = numbers_inside(list(drawn.values()), ramp)
    for i, (one, (name, matrix)) in enumerate(zip(several, drawn.items(), strict=True)):
        image = _draw(one, matrix, ramp, *names, form)
        say(one, title=name, x_axis=axis_names[1], y_axis=axis_names[0] if i == 0 else "")
    if settings.bar:
        _bar(image, several, value, form)
    return several


def _draw(
    ax: PlotAxes, one: Cells, ramp: Scale, rows: list[str], cols: list[str], form: CellText | None
) -> Any:
    cmap, norm = ramp_colours(ramp)
    image = ax.imshow(one.values, cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")
    label(ax.yaxis, rows)
    label(ax.xaxis, cols, slant=True)
    for i, j in np.ndindex(one.values.shape):
        ink = ramp.mark(one.values[i, j]).ink
        if form is not None:
            ax.text(
                j,
                i,
                form.inside(float(one.values[i, j])),
                ha="center",
                va="center",
                fontsize=7,
                color=ink,
            )
        if one.marked(i, j):
            ax.plot(j + 0.38, i - 0.36, "o", markersize=2.5, color=ink)
    ax.set(xlim=(-0.5, len(cols) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _bar(image: Any, several: list[PlotAxes], value: str, form: CellText | None) -> None:
    bar = several[0].figure.colorbar(image, ax=several)
    unit = f", cells in units of {form.unit}" if form is not None and form.unit else ""
    bar.set_label(plain(value) + unit, parse_math=False)
    bar.outline.set_visible(False)
