"""Curves of probing studies on matplotlib axes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...typing import PlotAxes
from .._records import best_series
from ._lines import lines


def by_layer(
    records: Iterable[Mapping[str, Any]],
    *,
    ax: PlotAxes | None = None,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
) -> PlotAxes:
    """Draws a measure of each feature over layers onto `ax`.

    Arguments are those of `jaxinterp.viz.by_layer`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.by_layer(ji.probes.select(records, k=1), ax=ax)
    ```
    """
    return _drawn(records, "layer", "layer", ax, features, metric, title)


def by_k(
    records: Iterable[Mapping[str, Any]],
    *,
    ax: PlotAxes | None = None,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
) -> PlotAxes:
    """Draws a measure of each feature over the number of neurons, on a logarithmic axis, onto `ax`.

    Arguments are those of `jaxinterp.viz.by_k`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.by_k(ji.probes.select(records, method="adaptive"), ax=ax)
    ```
    """
    return _drawn(records, "k", "neurons (k)", ax, features, metric, title)


def by_size(
    records: Iterable[Mapping[str, Any]],
    *,
    ax: PlotAxes | None = None,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
) -> PlotAxes:
    """Draws a measure of each feature over the number of parameters of several models onto `ax`.

    Arguments are those of `jaxinterp.viz.by_size`.

    **Returns:** the axes.

    ```python
    fig, ax = plt.subplots()
    ji.viz.mpl.by_size(ji.probes.select(records, k=1), ax=ax)
    ```
    """
    return _drawn(records, "parameters", "parameters", ax, features, metric, title)


def _drawn(
    records: Iterable[Mapping[str, Any]],
    axis: str,
    x_axis: str,
    ax: PlotAxes | None,
    features: Sequence[str] | None,
    metric: str,
    title: str,
) -> PlotAxes:
    best = best_series(records, axis, features, metric)
    return lines(
        best.curves,
        x=best.x,
        bands=best.bands,
        ax=ax,
        title=title,
        x_axis=x_axis,
        y_axis=metric,
        log=axis != "layer",
    )
