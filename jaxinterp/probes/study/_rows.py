"""StudyRows of activations for a study: of a store, or of a model that reads a corpus."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Feature, Store, activations, model_hash, save_activations
from ...data._files import fingerprint
from ...data._reading import plan
from ...typing import CorpusLike, ModelLike, PathLike
from ._settings import StudySettings


@dataclasses.dataclass
class StudyRows:
    """StudyRows of activations that are read when they are wanted, a layer at a time.

    - `count` rows of `width` units at `layers`; `index (count,)`: which contexts or tokens they are.
    - `model_hash`, `data_hash`, `reduce`: what they are of. `read(layer)`: the rows `(count, width)`.
    - `groups (count,)`: what stays on one side of a split.
    """

    count: int
    width: int
    layers: list[int]
    index: np.ndarray
    model_hash: str
    data_hash: str
    reduce: str | None
    read: Callable[[int], np.ndarray]
    groups: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))


def rows_of_store(store: Store, site: str, layers: Iterable[int] | None) -> StudyRows:
    """StudyRows of a store of activations."""
    if site in store.sites:
        lead = store.shape(site)[0]
        known = {layer: (site, layer) for layer in range(lead)}
        row = store.shape(site)[2:]
    else:
        known = {
            int(inner): (name, None)
            for name in store.sites
            if name.startswith(f"{site}[") and (inner := name[len(site) + 1 : -1]).isdigit()
        }
        if not known:
            raise ValueError(f"The store holds {store.sites}; got site={site!r}.")
        row = store.shape(next(iter(known.values()))[0])[1:]
    chosen = chosen_layers(layers, sorted(known), site)

    def read(layer: int) -> np.ndarray:
        name, within = known[layer]
        return flat_rows(store.read(name, layer=within))

    return StudyRows(
        len(store),
        int(np.prod(row)),
        chosen,
        store.index,
        store.about["model"]["sha256"],
        store.about["data"]["sha256"],
        store.about["reduce"],
        read,
    )


def rows_of_model(
    model: ModelLike,
    data: CorpusLike,
    labels: Any,
    settings: StudySettings,
    path: PathLike | None,
    progress: bool,
) -> StudyRows:
    """StudyRows that the model makes, read when the first layer is wanted; kept at `path` if there is one."""
    site, reduce = settings.site, settings.reduce
    options: dict[str, Any] = {"reduce": reduce}
    if reduce is None:
        made = list(labels.values()) if isinstance(labels, Mapping) else []
        if not made or not all(isinstance(f, Feature) for f in made):
            raise ValueError(
                "With reduce=None a row is a token, and labels are samples of tokens: "
                "{'digit': ji.data.sample(labels, ~labels, n=1000, key=jax.random.key(0))}. For a row per context: "
                "reduce='mean'."
            )
        options["index"] = np.unique(np.concatenate([f.index for f in made]))
    reading = plan(model, data, site, **options)
    count, row, _ = reading.shapes[site]
    if count is None:
        raise ValueError(
            f"A study goes over layers, and {site!r} has none. Name a site without a layer, such as "
            "'mlp_post' (layers=[3] for one), or give activations to probes.probe_records."
        )
    chosen = chosen_layers(settings.layers, list(range(count)), site)
    sites: Any = site if len(chosen) == count else [f"{site}[{layer}]" for layer in chosen]
    if path is not None and (Path(path) / "manifest.json").is_file():
        # A folder that was begun with these layers and others is gone on with as it was begun.
        begun = Store(path).sites
        if begun == [site] or set(begun) >= set(sites):
            sites = site if begun == [site] else begun
    found: dict[str, Any] = {}

    def read(layer: int) -> np.ndarray:
        if not found:
            if path is None:
                x: Any = activations(
                    model,
                    data,
                    sites,
                    batch_size=settings.batch_size,
                    dtype=settings.dtype,
                    progress=progress,
                    **options,
                )
                found["x"] = {site: x} if sites == site else x
            else:
                found["store"] = save_activations(
                    path,
                    model,
                    data,
                    sites,
                    dtype=settings.dtype,
                    batch_size=settings.batch_size,
                    shard=settings.shard,
                    progress=progress,
                    **options,
                )
        if "store" in found:
            x = (
                found["store"].read(site, layer=layer)
                if sites == site
                else found["store"].read(f"{site}[{layer}]")
            )
        else:
            x = found["x"][site][layer] if sites == site else found["x"][f"{site}[{layer}]"]
        return flat_rows(x)

    index = options.get("index")
    data_hash = fingerprint(reading.corpus.content_hash, "none" if index is None else index)
    rows = options["index"] if reduce is None else reading.index
    return StudyRows(
        len(rows),
        int(np.prod(row)),
        chosen,
        np.asarray(rows),
        model_hash(model),
        data_hash,
        reduce,
        read,
    )


def flat_rows(x: Any) -> np.ndarray:
    """StudyRows `(n, units)` in float32."""
    x = np.asarray(x)
    return x.reshape(len(x), -1).astype(np.float32)


def chosen_layers(layers: Iterable[int] | None, known: list[int], site: str) -> list[int]:
    """The requested layers, among those of the site."""
    if layers is None:
        return known
    chosen = list(dict.fromkeys(int(layer) for layer in layers))
    if not chosen or not set(chosen) <= set(known):
        raise IndexError(f"{site!r} is at the layers {known[0]}..{known[-1]}; got layers={chosen}.")
    return chosen
