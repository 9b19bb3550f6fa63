"""A sweep over features, layers, k and methods: records that a killed run does not lose."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..._text import line
from ...core._check import as_int
from ...data import Feature, Store, activations, check_split, model_hash, save_activations, split
from ...data._files import fingerprint
from ...data._reading import plan
from ...stats._examples import as_labels
from ._feature_records import grids, probe_records
from ._records import BadRecords, Record, Writer, read_records

SAME = (
    "model_hash",
    "data_hash",
    "site",
    "reduce",
    "seed",
    "test_share",
    "normalise",
    "balanced",
    "bootstrap",
)
"""What all records of one file agree in, besides the versions."""


def study(
    model: Any,
    data: Any,
    features: Any = None,
    *,
    site: str = "mlp_post",
    layers: Iterable[int] | None = None,
    reduce: str | None = "mean",
    methods: Any = ("single", "adaptive"),
    ks: Iterable[int] | None = None,
    groups: Any = None,
    parts: Any = None,
    test: float | int = 0.3,
    key: Any = 0,
    gamma: float | int = 1.0,
    balanced: bool = True,
    normalise: bool = True,
    bootstrap: int = 1000,
    time_limit: float | int = 60,
    out: str | Path | None = None,
    store: str | Path | None = None,
    dtype: Any = None,
    batch: int = 32,
    shard: int = 64,
    name: str | None = None,
    progress: bool = True,
) -> list[Record]:
    r"""$\{F_1(f, l, k, \text{method})\}$: every feature at every layer, a record per fit, resumable.

    The sweep of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610), sections 4 and 5.

    **Arguments:**

    - `model`; `data`: a `Corpus`, tokens `(seq, pos)`, or a `Store` of activations (of this model;
      or model None).
    - `features`: labels `(row,)` of any kind, each against the rest; or a dict from names to bools
      `(row,)` or to `Feature`s of `ji.data.sample`; by default the labels of a corpus. A row is a
      context; with `reduce=None` a token, and features are `Feature`s.
    - `site`, `reduce`: as in `ji.data.activations`; `layers`: all by default.
    - `methods`, `ks`, `gamma`, `balanced`, `normalise`, `bootstrap`, `time_limit`: as in
      `probe_records`.
    - `groups` `(row,)`: what must not be parted; those of a corpus by default, for tokens and
      stores to be given. `test`: the share of rows held out, for each feature by class. `parts`:
      instead, `(train, test)` rows of your own, the same for all features.
    - `key`: an int or a JAX key.
    - `out`: a file of records (`.jsonl`) to write, or to go on with. `store`: a folder for the
      activations; without it they are held in memory. `dtype`, `batch`, `shard`: as in
      `save_activations`.
    - `name`: what the model is called in the records.

    **Returns:** the records, by layer, feature, method, k. Each has `model`, `model_hash`,
    `parameters`, `data_hash`, `feature`, `site`, `layer`, `method`, `k`, `support`, `weights` and
    `bias` (None for more than 256 neurons), `gamma`, `seed`, `n_train`, `n_test`, `positive_share`
    (of the test rows; `positive_share_train`), every measure of `metrics`, those of hard predictions
    with an interval (`f1`, `f1_low`, `f1_high`), `train_f1`, `objective`, `bound`, `gap`, `status`,
    `seconds` and versions.

    **Resuming:** the file says which cells are done. Killed at any moment and called again it goes
    on; called again when all is done it computes nothing. Other layers, features or methods are
    added to the file.

    **Raises:** `BadRecords` where the file was begun with another model, data or setting, and which;
    `ji.data.Leak` for `parts` that share a group; ValueError for one class only.

    ```python
    records = ji.probes.study(model, corpus, methods=["single"], out="study.jsonl", store="acts")
    rich.print(ji.probes.records_table(ji.probes.best(records)))
    ```

    Law: interrupted and resumed, the same records but for `seconds` as at once.
    """
    rows = (
        _of_store(data, site, layers)
        if isinstance(data, Store)
        else _of_model(model, data, features, site, layers, reduce, store, dtype, batch, shard, progress)
    )
    sets = _features(rows, features, data)
    rows.groups = _groups(rows, groups, data)
    chosen = {
        each: _parted(rows.groups[where], where, y, each, parts, test, key, rows.groups)
        for each, (where, y) in sets.items()
    }
    about: Record = {
        "model": name or _name(model, data),
        "model_hash": rows.model_hash,
        "parameters": None if model is None else _parameters(model),
        "data_hash": rows.data_hash,
        "site": site,
        "reduce": rows.reduce,
        "seed": _seed(key),
        "test_share": float(test) if parts is None else None,
        "normalise": bool(normalise),
        "balanced": bool(balanced),
        "bootstrap": int(bootstrap),
    }
    versions = {"jaxinterp": _version(), "jax": jax.__version__, "numpy": np.__version__}
    n = min(len(train) for train, _ in chosen.values())
    ks = None if ks is None else list(ks)
    asked = grids(methods, ks, rows.width, n)
    hashes = {each: fingerprint(*sets[each], *chosen[each])[:16] for each in sets}
    cells = [
        (layer, each, method, k)
        for layer in rows.layers
        for each in sets
        for method, grid in asked.items()
        for k in grid
    ]
    own = {
        method: {"grid": grid, "time_limit": float(time_limit) if method == "best_subset" else None}
        for method, grid in asked.items()
    }
    settings = {
        "about": about,
        "split_hash": hashes,
        "methods": own,
        "gamma": float(gamma),
        "versions": versions,
    }
    done = _done(out, settings, set(cells))
    missing = list(dict.fromkeys(cell[:3] for cell in cells if cell not in done))
    base = key if isinstance(key, jax.Array) else jax.random.key(as_int(key, "key"))

    def compute(keep: Callable[[list[Record]], None]) -> None:
        x, at = None, None
        for layer, each, method in _watched(missing, progress):
            if at != layer:
                x, at = rows.read(layer), layer
            where, y = sets[each]
            train, held = chosen[each]
            cell = {
                **about,
                "feature": each,
                "layer": layer,
                "split_hash": hashes[each],
                "time_limit": own[method]["time_limit"],
            }
            seed = jax.random.fold_in(base, zlib.crc32(f"{each} {layer}".encode()) & 0x7FFFFFFF)
            assert x is not None
            found = [
                {**record, **versions}
                for record in probe_records(
                    x[where],
                    y,
                    train,
                    held,
                    {method: asked[method]},
                    gamma=gamma,
                    balanced=balanced,
                    normalise=normalise,
                    bootstrap=bootstrap,
                    time_limit=time_limit,
                    key=seed,
                    about=cell,
                )
                if (layer, each, method, record["k"]) not in done
            ]
            keep(found)
            done.update({_cell(record): record for record in found})

    if missing and out is None:
        compute(lambda found: None)
    elif missing:
        assert out is not None
        with Writer(out) as file:
            compute(file.append)
    return [done[cell] for cell in cells]


@dataclasses.dataclass
class Rows:
    """Rows of activations that are read when they are wanted, a layer at a time."""

    count: int
    width: int
    layers: list[int]
    index: np.ndarray
    model_hash: str
    data_hash: str
    reduce: str | None
    read: Callable[[int], np.ndarray]
    groups: Any = None


def _of_store(store: Store, site: str, layers: Any) -> Rows:
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
    chosen = _layers(layers, sorted(known), site)

    def read(layer: int) -> np.ndarray:
        name, within = known[layer]
        return _flat(store.read(name, layer=within))

    return Rows(
        len(store),
        int(np.prod(row)),
        chosen,
        store.index,
        store.about["model"]["sha256"],
        store.about["data"]["sha256"],
        store.about["reduce"],
        read,
    )


def _of_model(
    model: Any,
    data: Any,
    features: Any,
    site: str,
    layers: Any,
    reduce: str | None,
    path: Any,
    dtype: Any,
    batch: int,
    shard: int,
    progress: bool,
) -> Rows:
    options: dict[str, Any] = {"reduce": reduce}
    if reduce is None:
        made = list(features.values()) if isinstance(features, Mapping) else []
        if not made or not all(isinstance(f, Feature) for f in made):
            raise ValueError(
                "With reduce=None a row is a token, and features are samples of tokens: "
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
    chosen = _layers(layers, list(range(count)), site)
    sites: Any = site if len(chosen) == count else [f"{site}[{layer}]" for layer in chosen]
    if path is not None and (Path(path) / "manifest.json").is_file():
        # A folder that was begun with these layers and others is gone on with as it was begun.
        begun = Store(path).sites
        if begun == [site] or set(begun) >= set(sites):
            sites = site if begun == [site] else begun
    held: dict[str, Any] = {}

    def read(layer: int) -> np.ndarray:
        if not held:
            if path is None:
                x = activations(
                    model, data, sites, batch_size=batch, dtype=dtype, progress=progress, **options
                )
                held["x"] = {site: x} if sites == site else x
            else:
                held["store"] = save_activations(
                    path,
                    model,
                    data,
                    sites,
                    dtype=dtype,
                    batch_size=batch,
                    shard=shard,
                    progress=progress,
                    **options,
                )
        if "store" in held:
            x = (
                held["store"].read(site, layer=layer)
                if sites == site
                else held["store"].read(f"{site}[{layer}]")
            )
        else:
            x = held["x"][site][layer] if sites == site else held["x"][f"{site}[{layer}]"]
        return _flat(x)

    index = options.get("index")
    data_hash = fingerprint(reading.corpus.content_hash, "none" if index is None else index)
    rows = options["index"] if reduce is None else reading.index
    return Rows(
        len(rows),
        int(np.prod(row)),
        chosen,
        np.asarray(rows),
        model_hash(model),
        data_hash,
        reduce,
        read,
    )


def _flat(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(len(x), -1).astype(np.float32)


def _layers(layers: Any, known: list[int], site: str) -> list[int]:
    if layers is None:
        return known
    chosen = list(dict.fromkeys(int(layer) for layer in layers))
    if not chosen or not set(chosen) <= set(known):
        raise IndexError(f"{site!r} is at the layers {known[0]}..{known[-1]}; got layers={chosen}.")
    return chosen


def _features(rows: Rows, features: Any, data: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name the rows of each feature and its labels, one bool per row."""
    if features is None:
        if not hasattr(data, "documents"):
            raise ValueError(
                "features are labels (row,), or a dict from names to bools (row,); only a corpus "
                "brings labels of its own."
            )
        features = data.labels
    everywhere = np.arange(rows.count)
    if not isinstance(features, Mapping):
        labels = np.asarray(features)
        if labels.shape != (rows.count,):
            raise ValueError(f"There is one label per row ({rows.count},); got the shape {labels.shape}.")
        # A row without a label is of no class, and not known to be of none either.
        labelled = np.flatnonzero([label is not None for label in labels.tolist()])
        texts = labels[labelled].astype(str)
        kinds = np.unique(texts).tolist()
        if len(kinds) < 2:
            raise ValueError(
                f"A probe tells classes apart, and every row has the label {kinds[0] if kinds else None!r}."
            )
        return {kind: (labelled, texts == kind) for kind in kinds}
    out = {}
    for name, given in features.items():
        if isinstance(given, Feature):
            where = np.searchsorted(rows.index, given.index)
            here = np.minimum(where, rows.count - 1)
            if (rows.index[here] != given.index).any():
                raise IndexError(f"The feature {name!r} has rows that the activations do not have.")
            y = np.asarray(given.labels)
        else:
            where, y = everywhere, np.asarray(given)
            if y.shape != (rows.count,):
                raise ValueError(
                    f"The feature {name!r} has one label per row ({rows.count},); got the shape {y.shape}."
                )
        out[str(name)] = where, as_labels(y, len(where)) > 0
    if not out:
        raise ValueError("Name at least one feature: {'German': labels == 'de'}.")
    return out


def _groups(rows: Rows, groups: Any, data: Any) -> np.ndarray:
    if groups is None:
        if not hasattr(data, "groups"):
            raise ValueError(
                "groups= says of each row what must not be parted between train and test (its "
                "document); where every row is of its own: groups=np.arange(n)."
            )
        groups = data.groups
        if rows.reduce is None:
            groups = groups[rows.index // data.tokens.shape[1]]
    groups = np.asarray(groups)
    if groups.shape != (rows.count,):
        raise ValueError(f"groups has one entry for each row ({rows.count},); got {groups.shape}.")
    return groups


def _parted(
    groups: np.ndarray,
    where: np.ndarray,
    y: np.ndarray,
    name: str,
    parts: Any,
    test: float | int,
    key: Any,
    all_groups: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Train and test of one feature, as numbers of its own rows."""
    if parts is None:
        try:
            key = key if isinstance(key, jax.Array) else jax.random.key(as_int(key, "key"))
            return split(groups, test=test, key=key, labels=y)
        except ValueError as error:
            raise ValueError(f"The feature {name!r}: {error}") from error
    sides = [np.asarray(part) for part in parts]
    if len(sides) != 2:
        raise ValueError("parts is the pair of rows (train, test).")
    check_split(all_groups, *sides)
    marked = [np.zeros(len(all_groups), bool) for _ in sides]
    for mark, side in zip(marked, sides, strict=True):
        mark[side] = True
    return np.flatnonzero(marked[0][where]), np.flatnonzero(marked[1][where])


def _done(out: Any, settings: dict[str, Any], cells: set[tuple[Any, ...]]) -> dict[tuple[Any, ...], Record]:
    """The records of a file by cell, once it is sure that they are of this study."""
    if out is None or not Path(out).is_file():
        return {}
    found = read_records(out)
    for record in found:
        _check_same(out, record, settings)
    done = {cell: record for record in found if (cell := _cell(record)) in cells}
    if found and len(done) < len(cells):
        for name, version in settings["versions"].items():
            if found[0].get(name) != version:
                raise BadRecords(
                    f"{out} was begun with {name} {found[0].get(name)}, and this is {version}: "
                    "numbers may differ in the last digits. Go on with that version, or give "
                    "another file."
                )
    return done


def _check_same(out: Any, record: Record, settings: dict[str, Any]) -> None:
    wanted = {name: settings["about"][name] for name in SAME}
    feature, method = record.get("feature"), record.get("method")
    if "model_hash" not in record or feature is None or method is None:
        raise BadRecords(f"{out} holds records of something else than a study. Give another file.")
    where = ""
    if feature in settings["split_hash"]:
        wanted["split_hash"] = settings["split_hash"][feature]
    if method in settings["methods"]:
        wanted |= settings["methods"][method]
        if method not in ("elastic", "best_subset"):  # the others have ridges of their own
            wanted["gamma"] = settings["gamma"]
        where = f" for the method {method!r}"
    for name, now in wanted.items():
        if record.get(name) != now:
            what = {
                "split_hash": f"labels or split of the feature {feature!r} (split_hash)",
                "grid": f"ks (grid){where}",
                "data_hash": "data (data_hash)",
                "model_hash": "model (model_hash)",
            }.get(name, name)
            raise BadRecords(
                f"{out} was begun with another {what}: {_short(record.get(name))}, and this call has "
                f"{_short(now)}. Give another file, or delete this one."
            )


def _short(value: Any) -> str:
    return repr(value[:12]) if isinstance(value, str) else repr(value)


def _cell(record: Record) -> tuple[Any, ...]:
    return record.get("layer"), record.get("feature"), record.get("method"), record.get("k")


def _watched(missing: list[Any], progress: bool) -> Iterator[Any]:
    from tqdm.auto import tqdm

    bar = tqdm(missing, desc="study", unit="cell", delay=2.0, disable=not progress)
    for layer, feature, method in bar:
        bar.set_postfix_str(f"layer {layer}, {line(feature)}, {method}", refresh=False)
        yield layer, feature, method


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


def _seed(key: Any) -> int | list[int]:
    if isinstance(key, jax.Array):
        return [int(i) for i in np.asarray(jax.random.key_data(key)).ravel()]
    return int(key)


def _version() -> str:
    try:
        return metadata.version("jaxinterp")
    except metadata.PackageNotFoundError:
        return "unknown"
