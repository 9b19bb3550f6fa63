"""From many features to few: supports that shrink by the weights of the probe before."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ...stats._examples import as_examples, as_labels, check_k
from ...typing import ArrayLike
from .._by_k import ByK
from ._elastic import elastic_net
from ._fit import Probe
from ._rank import rank


def sparsities(d: int, most: int = 256) -> list[int]:
    """The grid of k: 1..8, 10, 12, then 16 doubling, to d or `most`, with d where it fits.

    **Arguments:**

    - `d`: number of columns.
    - `most`: largest k of the grid; 256 by default.

    ```python
    ji.probes.sparsities(30)                # [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 30]
    ```
    """
    if d < 1 or most < 1:
        raise ValueError(f"A grid of k needs d and most of 1 or more; got d={d}, most={most}.")
    grid = {*range(1, 9), 10, 12}
    k = 16
    while k <= d:
        grid.add(k)
        k *= 2
    return sorted(k for k in grid | {d} if k <= min(d, most))


def shrinking_net(
    x: ArrayLike, y: ArrayLike, support: Sequence[int] | np.ndarray, *, balanced: bool = True
) -> Probe:
    r"""The elastic net with $C = k/20$ and $r = \mathrm{clip}(e^{-k/20}, 0.1, 0.9)$ for a support of k columns.

    With fewer columns a larger part of the penalty is an L1 norm. `adaptive` fits this by default, as the
    published code of Gurnee et al. 2023 does (https://arxiv.org/abs/2305.01610). For
    another balance: `adaptive(x, y, fit=functools.partial(shrinking_net, balanced=False))`.

    **Arguments:**

    - `x (n, d)`: activations, a row for each example.
    - `y (n,)`: labels 0 and 1.
    - `support`: numbers of columns `(k,)`.
    - `balanced`: whether both classes have the same total weight; True by default.

    **Returns:** a `Probe`, as `ji.probes.elastic_net`.

    ```python
    ji.probes.shrinking_net(x, y, support=[3, 14]).weights
    ```
    """
    k = len(support)
    ratio = float(np.clip(np.exp(-k / 20), 0.1, 0.9))
    return elastic_net(x, y, support, gamma=k / 20, l1_ratio=ratio, balanced=balanced, tol=1e-9)


def adaptive(
    x: ArrayLike,
    y: ArrayLike,
    ks: Iterable[int] | None = None,
    *,
    fit: Callable[..., Any] | None = None,
    normalise: bool = True,
) -> ByK[Probe]:
    r"""$S_{k'} = \mathrm{top}_{k'} \lvert w_{S_k} \rvert$ for $k' < k$: a probe for each k, on nested supports.

    The adaptive thresholding of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610). The largest k takes the columns
    with the largest mean difference. Each smaller k takes the columns with the largest weights of the probe before.
    Columns with the weight 0 are dropped first, and among these the one with the smallest mean difference.

    **Units.** With `normalise` each column is divided by $10 \max(\sigma_j, 10^{-3})$ and nothing is
    subtracted, as published. So the ranking, the penalty and the weights do not depend on the spread of a column (if
    its deviation is below 0.001, it counts less). Probes are returned in the units of the given x, so
    `probe.decision(x)` takes x as it is; `value`, `bound` and `gap` belong to the normalised problem. With
    `normalise=False` everything depends on the units of x. The published penalty is strong where k and
    n are small: on a few hundred examples it can set every weight of a weak feature to 0.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1.
    - `ks`: the numbers of columns. Default `sparsities(d)`, no more than n.
    - `fit(x, y, support)`: makes each `Probe`. Default `shrinking_net`. For a ridge write
      `fit=ji.probes.fit`; for another loss `fit=functools.partial(ji.probes.fit, loss="hinge")`. Its gamma
      is in the units of the normalised x, whose deviations are 0.1: there 100 stands for 1 at deviation 1.
    - `normalise`: whether columns are divided by their deviation. Default True.

    **Returns:** `ByK`, a mapping from k, in rising order, to `Probe`. `.converged` and `.gap` of a probe say how
    exact its fit is, and `ji.probes.metrics(y, probe.decision(x))` how good it is.

    **Raises:** as `best_subset`.

    ```python
    for k, probe in ji.probes.adaptive(x, y, ks=[1, 2, 4, 8]).items():
        print(k, ji.probes.metrics(y, probe.decision(x)).f1)
    ```

    Law: supports are nested; planted neurons are found; other units of x give the same probes.
    """
    fit = shrinking_net if fit is None else fit
    x = as_examples(x)
    n, d = x.shape
    as_labels(y, n)
    order = sorted({check_k(k, d, n) for k in (sparsities(min(d, n)) if ks is None else ks)})
    if not order:
        raise ValueError("ks names at least one number of features: ks=[1, 2, 4, 8].")
    scale = 10 * np.maximum(x.std(0, dtype=np.float64), 1e-3) if normalise else np.ones(d)
    # Ranked in float64: features of large mean and small spread are no rounding of each other.
    scores = rank(((x - x.mean(0)) / scale), y)
    support = np.argsort(-scores, kind="stable")[: order[-1]]
    columns = x[:, support].astype(np.float64) / scale[support]
    found: dict[int, Probe] = {}
    place = np.arange(len(support))
    for k in reversed(order):
        # Fits sort their columns; ties among weights of 0 go to the larger mean difference.
        probe = fit(columns, y, np.sort(place[:k]))
        heavy = np.lexsort((probe.support, -np.abs(probe.weights)))
        place = probe.support[heavy]
        found[k] = in_columns_of(probe, support, scale[support[probe.support]], d)
    return ByK({k: found[k] for k in order})


def in_columns_of(probe: Any, columns: np.ndarray, scale: Any, d: int) -> Any:
    """A probe or subset of some columns of x, divided by `scale`, as one of x itself."""
    support = columns[probe.support]
    order = np.argsort(support)
    weights = (probe.weights / scale)[order]
    return dataclasses.replace(probe, support=support[order], weights=weights, features=d)
