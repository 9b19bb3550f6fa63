"""Curves with confidence bands on matplotlib axes."""

from collections.abc import Mapping

from ..._text import number, plain
from ...typing import ArrayLike, PlotAxes
from .._curves import checked_curves
from .._ticks import log_ticks
from ._axes import axes, finish


def lines(
    series: Mapping[str, ArrayLike],
    *,
    x: ArrayLike | None = None,
    ax: PlotAxes | None = None,
    title: str = "",
    x_axis: str = "x",
    y_axis: str = "y",
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    marks: Mapping[str, float | int] | None = None,
    log: bool = False,
) -> PlotAxes:
    """Draws one curve per entry of `series` onto `ax`, with its band behind it.

    Arguments are those of `jaxinterp.viz.lines`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    bands = {"loss": ([1.8, 1.0, 0.8], [2.2, 1.4, 1.0])}
    ji.viz.mpl.lines({"loss": [2.0, 1.2, 0.9]}, bands=bands, x_axis="step", y_axis="nats", ax=ax)
    ```
    """
    curves, xs = checked_curves(series, x, bands)
    if log and not (xs > 0).all():
        raise ValueError(f"A logarithmic axis holds positive numbers; x has {xs.min():g}.")
    ax = axes(ax)
    for one in curves:
        ax.plot(xs, one.values, color=one.colour, linewidth=1.8, label=legend_name(one.name))
        if one.band is not None:
            ax.fill_between(xs, *one.band, color=one.colour, alpha=0.18, linewidth=0)
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
    if log:
        at = log_ticks(xs.min(), xs.max())
        ax.set_xscale("log", base=2)
        ax.set_xticks(at, [number(u) for u in at], minor=False)
        ax.minorticks_off()
    return finish(ax, legend=len(curves) > 1, title=title, x_axis=x_axis, y_axis=y_axis)


def legend_name(name: str) -> str:
    """A name that begins with an underscore would be left out of the legend."""
    return f"\u200b{plain(name)}" if name.startswith("_") else plain(name)
