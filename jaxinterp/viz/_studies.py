"""Curves of probing studies, from records: a score by layer, by number of neurons, by model size."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._figure import Figure
from ._lines import lines
from ._records import best_series

_HERE = {
    "layer": "layer",
    "k": "neurons (k)",
    "parameters": "parameters",
}


def by_layer(
    records: Iterable[Mapping[str, Any]],
    *,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws a measure of each feature over layers, the best record of each layer, with its interval.

    Give records of one model and of one method or k (`ji.probes.select`). `features`: which, in which
    order; about five fit one figure.

    ```python
    ji.viz.by_layer(ji.probes.select(records, method="single")).save("layers.svg")
    ```
    """
    best = best_series(records, "layer", features, metric)
    return lines(
        best.curves,
        x=best.x,
        bands=best.bands,
        title=title or f"{metric} by layer",
        x_axis=_HERE["layer"],
        y_axis=metric,
        caption=caption,
    )


def by_k(
    records: Iterable[Mapping[str, Any]],
    *,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws a measure of each feature over the number of neurons, the best record of each k (over layers).

    ```python
    ji.viz.by_k(ji.probes.select(records, method="adaptive")).save("sparsity.svg")
    ```
    """
    best = best_series(records, "k", features, metric)
    return lines(
        best.curves,
        x=best.x,
        bands=best.bands,
        title=title or f"{metric} by number of neurons",
        x_axis=_HERE["k"],
        y_axis=metric,
        log=True,
        caption=caption,
    )


def by_size(
    records: Iterable[Mapping[str, Any]],
    *,
    features: Sequence[str] | None = None,
    metric: str = "f1",
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws a measure of each feature over the parameters of several models, the best record of each.

    ```python
    ji.viz.by_size(ji.probes.select(records, method="adaptive", k=1)).save("scaling.svg")
    ```
    """
    best = best_series(records, "parameters", features, metric)
    return lines(
        best.curves,
        x=best.x,
        bands=best.bands,
        title=title or f"{metric} by model size",
        x_axis=_HERE["parameters"],
        y_axis=metric,
        log=True,
        caption=caption,
    )
