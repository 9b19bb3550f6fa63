"""Heat maps on matplotlib axes, in the colours of the HTML ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._cells import Cells, cells, inside, labels, panels
from .._colour import Scale, scale
from .._heatmap import shows_numbers
from .._text import plain
from ._axes import axes, label, many_axes, say

_LIGHT, _DARK = "#ffffff", "#24292f"


def colormap(ramp: Scale) -> tuple[Any, Any]:
    """A scale as matplotlib's pair (colormap, norm): `imshow(values, cmap=cmap, norm=norm)`."""
    from matplotlib.colors import ListedColormap, Normalize

    steps = np.linspace(ramp.low, ramp.high, 513)
    cmap = ListedColormap([ramp.mark(value).hex for value in steps])
    return cmap.with_extremes(bad=ramp.mark(np.nan).hex), Normalize(ramp.low, ramp.high)


def heatmap(
    values: Any,
    *,
    ax: Any = None,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    title: str = "",
    row_axis: str = "row",
    col_axis: str = "column",
    value: str = "value",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    marks: Any = None,
    bar: bool = True,
) -> Any:
    """Draws `values` (row, col) onto `ax` (a new figure's where left out) and returns the axes.

    Arguments are those of `jaxinterp.viz.heatmap`; cells of `marks` carry a dot. `bar=False` leaves
    the colour bar out.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.heatmap(heat, ax=ax, row_axis="layer", col_axis="position", marks=p < 0.05)
    fig.savefig("sweep.pdf")
    ```
    """
    one = cells(values, marks)
    names = labels(rows, one.values.shape[0], "rows"), labels(cols, one.values.shape[1], "cols")
    ramp = scale(one.values, diverging, limits)
    ax = axes(ax)
    image = _draw(ax, one, ramp, *names, shows_numbers(one.values.shape))
    say(ax, title=title, x_axis=col_axis, y_axis=row_axis)
    if bar:
        _bar(image, [ax], value)
    return ax


def heatmaps(
    values: Mapping[str, Any] | Any,
    *,
    ax: Any = None,
    rows: Sequence[object] | None = None,
    cols: Sequence[object] | None = None,
    row_axis: str = "row",
    col_axis: str = "column",
    value: str = "value",
    diverging: bool | None = None,
    limits: tuple[float | int, float | int] | None = None,
    marks: Mapping[str, Any] | None = None,
    bar: bool = True,
) -> list[Any]:
    """Draws named matrices of one shape onto as many axes, with one scale and one colour bar.

    ```python
    fig, ax = plt.subplots(1, 2)
    ji.viz.mpl.heatmaps({"q": a, "k": b}, ax=ax)
    ```
    """
    drawn = panels(values, marks)
    shape = next(iter(drawn.values())).values.shape
    names = labels(rows, shape[0], "rows"), labels(cols, shape[1], "cols")
    ramp = scale(np.concatenate([one.values for one in drawn.values()]), diverging, limits)
    found, image = many_axes(ax, len(drawn)), None
    for i, (one, (name, matrix)) in enumerate(zip(found, drawn.items(), strict=True)):
        image = _draw(one, matrix, ramp, *names, shows_numbers(shape, len(drawn)))
        say(one, title=name, x_axis=col_axis, y_axis=row_axis if i == 0 else "")
    if bar:
        _bar(image, found, value)
    return found


def _draw(ax: Any, one: Cells, ramp: Scale, rows: list[str], cols: list[str], text: bool) -> Any:
    cmap, norm = colormap(ramp)
    image = ax.imshow(one.values, cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")
    label(ax.yaxis, rows)
    label(ax.xaxis, cols, slant=True)
    for i, j in np.ndindex(one.values.shape):
        ink = _LIGHT if ramp.mark(one.values[i, j]).percent > 55 else _DARK
        if text:
            ax.text(
                j,
                i,
                inside(float(one.values[i, j])),
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


def _bar(image: Any, found: list[Any], value: str) -> None:
    bar = found[0].figure.colorbar(image, ax=found)
    bar.set_label(plain(value), parse_math=False)
    bar.outline.set_visible(False)
