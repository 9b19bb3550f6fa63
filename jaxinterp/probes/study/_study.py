"""A sweep over labels, layers, k and methods: records that a killed run does not lose."""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..._deprecations import respelled
from ..._random import key_numbers
from ..._settings import takes_settings
from ..._text import line
from ...core._check import check_key
from ...corpus._progress import advance, progress_bar
from ...data import Feature, Store
from ...data._files import fingerprint
from ...typing import ArrayLike, CorpusLike, KeyLike, ModelLike, PathLike
from ._feature_records import grids, probe_records
from ._labels import groups_of_rows, labelled_rows, split_rows
from ._records import Record, Writer
from ._resume import cell_of, done_records
from ._rows import rows_of_model, rows_of_store
from ._settings import RESPELLED, StudySettings


@respelled(**RESPELLED)
@takes_settings
def study(
    model: ModelLike | None,
    data: CorpusLike | Store,
    labels: ArrayLike | Mapping[str, ArrayLike | Feature] | None = None,
    *,
    key: KeyLike,
    settings: StudySettings = StudySettings(),
    groups: ArrayLike | None = None,
    parts: tuple[ArrayLike, ArrayLike] | None = None,
    out: PathLike | None = None,
    store: PathLike | None = None,
    progress: bool = True,
) -> list[Record]:
    r"""$\{F_1(f, l, k, \text{method})\}$: probes of each label at each layer, with a record for each fit.

    The sweep of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610), sections 4 and 5.

    **Arguments:**

    - `model`: the model; None where `data` is a store.
    - `data`: a `Corpus`, tokens `(seq, pos)`, or a `Store` of activations.
    - `labels`: labels `(row,)` of any kind, where each label is told from all others; or a dict from names to bools
      `(row,)` or to `Feature`s of `ji.data.sample`. Default: the labels of a corpus. A row is a context; with
      `reduce=None` it is a token, and labels are `Feature`s.
    - `key`: draws the split and the intervals.
    - `settings`: `StudySettings`: site, layers, methods, ks, ridge, resamples and more.
    - `groups (row,)`: rows of one group are not split. Default: the groups of a corpus; tokens and stores
      need it.
    - `parts`: `(train, test)` rows of your own, the same for all labels, in place of a split.
    - `out`: a file of records (`.jsonl`) to write, or to continue.
    - `store`: a folder for the activations. Default None: they stay in memory.
    - `progress`: whether a progress bar is shown. Default True.

    **Returns:** the records, by layer, feature, method, k. Each has `model`, `model_hash`,
    `parameters`, `data_hash`, `feature`, `site`, `layer`, `method`, `k`, `support`, `weights` and
    `bias` (None for more than 256 neurons), `gamma`, `key`, `n_train`, `n_test`, `positive_share`
    (of the test rows; `positive_share_train`), every measure of `metrics`, those of hard predictions
    with an interval (`f1`, `f1_low`, `f1_high`), `train_f1`, `objective`, `bound`, `gap`, `status`,
    `seconds` and versions.

    **Resuming:** the file shows which fits are done. After an interruption the same call continues; when all
    fits are done it computes nothing. Other layers, features or methods are added to the file.

    **Raises:** `BadRecords` where the file was begun with another model, data or setting, and which;
    `ji.data.Leak` for `parts` that share a group; ValueError for one class only.

    ```python
    records = ji.probes.study(
        model, corpus, key=jax.random.key(0), settings=ji.probes.StudySettings(methods=["single"]), out="study.jsonl"
    )
    rich.print(ji.probes.records_table(ji.probes.best(records)))
    ```

    Law: a study that was interrupted and resumed has the records of one that was not, except for `seconds`.
    """
    key = check_key(key, "ji.probes.study(..., key={})")
    if isinstance(data, Store):
        rows = rows_of_store(data, settings.site, settings.layers)
    elif model is None:
        raise ValueError("Without a model, data is a store of activations: ji.data.Store(path).")
    else:
        rows = rows_of_model(model, data, labels, settings, store, progress)
    sets = labelled_rows(rows, labels, data)
    rows.groups = groups_of_rows(rows, groups, data)
    chosen = {
        each: split_rows(rows.groups[where], where, y, each, parts, settings.test, key, rows.groups)
        for each, (where, y) in sets.items()
    }
    about: Record = {
        "model": settings.name or _name(model, data),
        "model_hash": rows.model_hash,
        "parameters": None if model is None else _parameters(model),
        "data_hash": rows.data_hash,
        "site": settings.site,
        "reduce": rows.reduce,
        "key": key_numbers(key),
        "test_share": float(settings.test) if parts is None else None,
        "normalise": bool(settings.normalise),
        "balanced": bool(settings.balanced),
        "resamples": int(settings.resamples),
    }
    versions = {"jaxinterp": _version(), "jax": jax.__version__, "numpy": np.__version__}
    n = min(len(train) for train, _ in chosen.values())
    ks = None if settings.ks is None else list(settings.ks)
    requested = grids(settings.methods, ks, rows.width, n)
    hashes = {each: fingerprint(*sets[each], *chosen[each])[:16] for each in sets}
    cells = [
        (layer, each, method, k)
        for layer in rows.layers
        for each in sets
        for method, grid in requested.items()
        for k in grid
    ]
    own = {
        method: {"grid": grid, "time_limit": float(settings.time_limit) if method == "best_subset" else None}
        for method, grid in requested.items()
    }
    fixed = {
        "about": about,
        "split_hash": hashes,
        "methods": own,
        "gamma": float(settings.gamma),
        "versions": versions,
    }
    done = done_records(out, fixed, set(cells))
    missing = list(dict.fromkeys(cell[:3] for cell in cells if cell not in done))

    def compute(keep: Callable[[list[Record]], None]) -> None:
        x, at = None, None
        for layer, each, method in _watched(missing, progress):
            if at != layer:
                x, at = rows.read(layer), layer
            where, y = sets[each]
            train, test_rows = chosen[each]
            cell = {
                **about,
                "feature": each,
                "layer": layer,
                "split_hash": hashes[each],
                "time_limit": own[method]["time_limit"],
            }
            own_key = jax.random.fold_in(key, zlib.crc32(f"{each} {layer}".encode()) & 0x7FFFFFFF)
            assert x is not None
            found = [
                {**cell, **record, **versions}
                for record in probe_records(
                    x[where],
                    y,
                    train,
                    test_rows,
                    {method: requested[method]},
                    gamma=settings.gamma,
                    balanced=settings.balanced,
                    normalise=settings.normalise,
                    resamples=settings.resamples,
                    time_limit=settings.time_limit,
                    key=own_key,
                )
                if (layer, each, method, record["k"]) not in done
            ]
            keep(found)
            done.update({cell_of(record): record for record in found})

    if missing and out is None:
        compute(lambda found: None)
    elif missing:
        assert out is not None
        with Writer(Path(out)) as file:
            compute(file.append)
    return [done[cell] for cell in cells]


def _watched(missing: list[Any], progress: bool) -> Iterator[Any]:
    caller = sys._getframe(1)
    with progress_bar(len(missing), "study", unit="cell", progress=progress, caller=caller) as bar:
        del caller
        for layer, feature, method in missing:
            yield layer, feature, method
            advance(bar)
            bar.set_postfix_str(f"layer {layer}, {line(feature)}, {method}", refresh=False)


def _name(model: Any, data: Any) -> str:
    source = getattr(getattr(model, "config", None), "source", None)
    if source is not None:
        return str(source.name)
    if isinstance(data, Store):
        about = data.about["model"]
        return str(about.get("source", {}).get("name") or about["class"])
    return type(getattr(model, "model", model)).__name__


def _parameters(model: Any) -> int:
    import equinox as eqx

    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array)))


def _version() -> str:
    try:
        return metadata.version("jaxinterp")
    except metadata.PackageNotFoundError:
        return "unknown"
