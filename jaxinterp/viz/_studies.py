"""Curves of probing studies, from records: a score by layer, by number of neurons, by model size."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ._figure import Figure
from ._lines import lines

_HERE = {
    "layer": "layer",
    "k": "neurons (k)",
    "parameters": "parameters",
}


@dataclasses.dataclass(frozen=True)
class Curves:
    """What `lines` draws: series over one `x`, with an interval where the records have one."""

    series: dict[str, np.ndarray]
    x: np.ndarray
    bands: dict[str, tuple[np.ndarray, np.ndarray]]


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
    found = curves(records, "layer", features, metric)
    return lines(
        found.series,
        x=found.x,
        bands=found.bands,
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
    found = curves(records, "k", features, metric)
    return lines(
        found.series,
        x=found.x,
        bands=found.bands,
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
    found = curves(records, "parameters", features, metric)
    return lines(
        found.series,
        x=found.x,
        bands=found.bands,
        title=title or f"{metric} by model size",
        x_axis=_HERE["parameters"],
        y_axis=metric,
        log=True,
        caption=caption,
    )


def curves(
    records: Iterable[Mapping[str, Any]], axis: str, features: Sequence[str] | None, metric: str
) -> Curves:
    """For each feature and each value of `axis` the best record: its measure and interval, else NaN."""
    records = list(records)
    if not records:
        raise ValueError("There are no records to draw: did a selection leave none?")
    missing = [name for name in ("feature", axis, metric) if all(r.get(name) is None for r in records)]
    if missing:
        raise ValueError(f"No record has {missing[0]!r}; there are {', '.join(records[0])}.")
    known = list(dict.fromkeys(str(r["feature"]) for r in records))
    chosen = known if features is None else list(features)
    if absent := [name for name in chosen if name not in known]:
        raise ValueError(f"No record is of the feature {absent[0]!r}; there are {', '.join(known)}.")
    xs = sorted({r[axis] for r in records if r.get(axis) is not None and r["feature"] in chosen})
    best: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for r in records:
        at = str(r["feature"]), r.get(axis)
        if r.get(metric) is not None and (at not in best or r[metric] > best[at][metric]):
            best[at] = r

    def values(feature: str, name: str) -> np.ndarray:
        of = (best.get((feature, x), {}).get(name) for x in xs)
        return np.array([np.nan if v is None else float(v) for v in of])

    series = {name: values(name, metric) for name in chosen}
    bands = {name: (values(name, f"{metric}_low"), values(name, f"{metric}_high")) for name in chosen}
    bands = {name: band for name, band in bands.items() if np.isfinite(band[0]).any()}
    return Curves(series, np.array(xs, float), bands)
