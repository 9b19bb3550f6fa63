"""All probes of one feature at one layer: arrays in, records out."""

import functools
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ..._deprecations import respelled
from ...core._check import check_key
from ...stats._examples import as_examples, as_labels, check_k
from ...stats._scores import metrics
from ...stats._table_intervals import table_intervals
from ...typing import ArrayLike, KeyLike
from ..exact._subset import Subset, best_subsets
from ..linear._adaptive import adaptive, shrinking_net, sparsities
from ..linear._fit import Probe, fit
from ..linear._rank import rank
from ..linear._single import single_neuron
from ._records import Record
from ._settings import Methods

METHODS = ("single", "mean_diff", "adaptive", "elastic", "best_subset", "dense")
_ONE_K = {"single", "dense"}
_COUNTS = ("tp", "fp", "fn", "tn", "positive_share")
_LISTED = 256


def grids(methods: Methods, ks: Iterable[int] | None, d: int, n: int) -> dict[str, list[int]]:
    """The numbers k of each method, rising: `{"single": [1], "adaptive": [1, 2, 4]}`."""
    if isinstance(methods, str):
        methods = (methods,)
    requested = dict(methods) if isinstance(methods, Mapping) else dict.fromkeys(methods)
    unknown = [name for name in requested if name not in METHODS]
    if unknown or not requested:
        raise ValueError(
            f"methods are some of {', '.join(map(repr, METHODS))}, or a dict from them to their ks, "
            f"methods={{'adaptive': None, 'best_subset': [1, 2]}}; got {unknown[0] if unknown else methods!r}."
        )
    found = {}
    for name, own in requested.items():
        if name in _ONE_K:
            found[name] = [1 if name == "single" else d]
            continue
        wanted = ks if own is None else own
        grid = sparsities(min(d, n)) if wanted is None else wanted
        found[name] = sorted({check_k(k, d, n) for k in grid})
        if not found[name]:
            raise ValueError(f"ks= names at least one number of features for {name!r}: ks=[1, 2, 4].")
    return found


@respelled(bootstrap="resamples=", about="{**about, **record}")
def probe_records(
    x: ArrayLike,
    y: ArrayLike,
    train: ArrayLike,
    test: ArrayLike,
    methods: Methods = ("single", "adaptive"),
    *,
    ks: Iterable[int] | None = None,
    gamma: float | int = 1.0,
    balanced: bool = True,
    normalise: bool = True,
    resamples: int = 1000,
    time_limit: float | int = 60,
    key: KeyLike,
) -> Iterator[Record]:
    r"""$\{F_1(k, \text{method})\}$ for one feature at one layer: a record per fit, metrics on the test rows.

    Normalisation, rankings and fits use the training rows only. With `normalise` every unit is divided by its
    deviation on these rows (by at least a thousandth of the median deviation, so that a unit that hardly changes
    has little weight). Weights in records are for x as given.

    | method | the probe |
    |---|---|
    | "single" | the single neuron whose probe has the best F1 on the training rows |
    | "mean_diff" | the k neurons with the largest mean difference |
    | "adaptive" | `adaptive` with the ridge: from many to k by weight |
    | "elastic" | `adaptive` as published, with elastic nets whose C is k / 20: for thousands of rows |
    | "best_subset" | `best_subsets`, with its certificate and its ridge $n^{-1/2}$ |
    | "dense" | all neurons |

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1.
    - `train`, `test`: numbers of rows.
    - `methods`: names of the table, or a dict from names to the ks of each.
    - `ks`: numbers of neurons. Default `sparsities`.
    - `gamma`, `balanced`: as in `fit`.
    - `normalise`: whether units are divided by their deviation.
    - `resamples`: how often the test rows of each class are resampled, for 95% intervals of the measures of hard
      predictions; 0 for no intervals. Default 1000.
    - `time_limit`: seconds for each proof. Default 60.
    - `key`: draws the resamples.

    **Returns:** an iterator of records, in the order of methods and of k. For the fields see `study`.

    **Raises:** as `best_subset`; ValueError for one class only on a side.

    ```python
    train, test = ji.data.split(groups, key=jax.random.key(0), labels=y)
    for record in ji.probes.probe_records(x, y, train, test, ks=[1, 4], key=jax.random.key(0)):
        print(record["method"], record["k"], record["f1"])
    ```

    Law: the metrics are those of `fit` on the training rows of the support, taken on the test rows.
    """
    x = as_examples(x)
    y = as_labels(y, len(x)) > 0
    train, test = np.asarray(train), np.asarray(test)
    for name, rows in (("train", train), ("test", test)):
        if len(set(y[rows].tolist())) < 2:
            raise ValueError(
                f"The {name} rows hold one class only: {int(y[rows].sum())} of {len(y[rows])} are "
                "positive. Split with labels: ji.data.split(groups, key=jax.random.key(0), labels=y)."
            )
    x_train, x_test = x[train], x[test]
    y_train, y_test = y[train], y[test]
    scale = deviations(x_train) if normalise else np.ones(x.shape[1], x.dtype)
    x_train, x_test = x_train / scale, x_test / scale
    key = check_key(key, "ji.probes.probe_records(..., key={})")
    for method, grid in grids(methods, ks, x.shape[1], len(x_train)).items():
        began = time.perf_counter()
        found = _fitted(method, grid, x_train, y_train, gamma, balanced, normalise, time_limit)
        seconds = (time.perf_counter() - began) / len(found)
        for k, probe in found.items():
            name = f"{method} {k}".encode()
            own = jax.random.fold_in(key, zlib.crc32(name) & 0x7FFFFFFF)
            measured = dict(metrics(y_test, probe.decision(x_test)))
            ends = dict(table_intervals(measured, key=own, resamples=resamples)) if resamples else {}
            few = len(probe.support) <= _LISTED
            proven = isinstance(probe, Subset)
            yield {
                "method": method,
                "k": int(k),
                "support": [int(j) for j in probe.support] if few else None,
                "weights": _short(probe.weights / scale[probe.support]) if few else None,
                "bias": _short([probe.bias])[0],
                "grid": list(grid),
                "gamma": float(probe.gamma),
                "n_train": len(x_train),
                "n_test": len(x_test),
                "n_features": int(x.shape[1]),
                "positive_share": measured.pop("positive_share"),
                "positive_share_train": float(y_train.mean()),
                **_flat(measured, ends),
                "train_f1": metrics(y_train, probe.decision(x_train))["f1"],
                "objective": probe.value,
                "bound": probe.bound,
                "gap": probe.gap,
                "status": probe.status if proven else "converged" if probe.converged else "stopped",
                "seconds": round(seconds, 4),
            }


def deviations(x: Any) -> np.ndarray:
    """The deviation of each unit `(d,)`, at least a thousandth of the median; 1 where all is constant."""
    spread = x.std(0)
    moving = spread[spread > 0]
    floor = 1e-3 * np.median(moving) if moving.size else 1.0
    return np.maximum(spread, floor).astype(x.dtype)


def _fitted(
    method: str,
    grid: list[int],
    x: np.ndarray,
    y: np.ndarray,
    gamma: float | int,
    balanced: bool,
    normalise: bool,
    time_limit: float | int,
) -> Mapping[int, Probe] | Mapping[int, Subset]:
    options: dict[str, Any] = {"gamma": gamma, "balanced": balanced}
    if method == "single":
        singles = single_neuron(x, y, **options)
        # Where several tell the training rows apart equally well, the one with the lower loss.
        order = np.lexsort((np.asarray(singles.value), -np.asarray(singles.f1)))
        return {1: fit(x, y, [int(order[0])], **options)}
    if method == "adaptive":
        return adaptive(x, y, grid, fit=functools.partial(fit, **options), normalise=False)
    if method == "elastic":
        net = functools.partial(shrinking_net, balanced=balanced)
        return adaptive(x, y, grid, fit=net, normalise=normalise)
    if method == "best_subset":
        return best_subsets(x, y, grid, time_limit=time_limit, balanced=balanced)
    if method == "dense":
        return {x.shape[1]: fit(x, y, **options)}
    order = np.argsort(-rank(x, y), kind="stable")
    return {k: fit(x, y, order[:k], **options) for k in grid}


def _flat(measured: dict[str, Any], ends: Mapping[str, tuple[float, float]]) -> Record:
    """Metrics with the ends of their intervals behind them."""
    out: Record = {}
    for name, value in measured.items():
        out[name] = int(value) if name in _COUNTS else value
        if name in ends:
            out[f"{name}_low"], out[f"{name}_high"] = ends[name]
    return out


def _short(values: Any) -> list[float]:
    return [float(f"{v:.7g}") for v in values]
