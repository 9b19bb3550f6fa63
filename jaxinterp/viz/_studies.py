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
    """Draws a measure of each feature over layers: the best record of each layer, with its interval.

    **Arguments:**

    - `records`: records of one model and of one method or k; `ji.probes.select` chooses them.
    - `features`: the features to draw, in this order; all by default. About five fit one figure.
    - `metric`: the name of the measure; "f1" by default. An interval is read from `f1_low` and `f1_high`.
    - `title`, `caption`: the title of the figure, and a sentence below it.

    **Returns:** a `Figure`.

    **Raises:** ValueError for no records, and for records without the measure or the axis.

    ```python
    ji.viz.by_layer(ji.probes.select(records, k=1)).save("layers.svg")
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
    """Draws a measure of each feature over the number of neurons k: the best record of each k, over layers.

    **Arguments:** those of `by_layer`; records need the name `k`.

    **Returns:** a `Figure`.

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
    """Draws a measure of each feature over the number of parameters: the best record of each model size.

    **Arguments:** those of `by_layer`; records need the name `parameters`.

    **Returns:** a `Figure`.

    ```python
    ji.viz.by_size(ji.probes.select(records, k=1)).save("scaling.svg")
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
