"""From many features to few: supports that shrink by the weights of the probe before."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...stats._examples import as_examples, as_labels, check_k
from ...stats._scores import metrics
from ..exact._subset import Subset, best_subset
from ._elastic import elastic_net
from ._fit import Probe, fit
from ._rank import rank


def sparsities(d: int, most: int = 256) -> list[int]:
    """The grid of k: 1..8, 10, 12, then 16 doubling, to d or `most`, with d where it fits."""
    if d < 1 or most < 1:
        raise ValueError(f"A grid of k needs d and most of 1 or more; got d={d}, most={most}.")
    grid = {*range(1, 9), 10, 12}
    k = 16
    while k <= d:
        grid.add(k)
        k *= 2
    return sorted(k for k in grid | {d} if k <= min(d, most))


def shrinking_net(x: Any, y: Any, support: Any, *, balanced: bool = True) -> Probe:
    r"""The elastic net with $C = k/20$ and $r = \mathrm{clip}(e^{-k/20}, 0.1, 0.9)$, k the size of the support.

    The fewer features are left, the more of the penalty is an L1 norm. What `adaptive` fits by
    default, as the published code of Gurnee et al. 2023 does (https://arxiv.org/abs/2305.01610). For
    another balance: `adaptive(x, y, fit=functools.partial(shrinking_net, balanced=False))`.
    """
    k = len(support)
    ratio = float(np.clip(np.exp(-k / 20), 0.1, 0.9))
    return elastic_net(x, y, support, gamma=k / 20, l1_ratio=ratio, balanced=balanced, tol=1e-9)


def adaptive(
    x: Any,
    y: Any,
    ks: Iterable[int] | None = None,
    *,
    fit: Callable[..., Any] | None = None,
    normalise: bool = True,
) -> dict[int, Probe]:
    r"""$S_{k'} = \mathrm{top}_{k'} \lvert w_{S_k} \rvert$ for $k' < k$: a probe for each k, on nested supports.

    The adaptive thresholding of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610): the features of
    the largest k by mean difference; then, for each smaller k, those of the largest weights of the
    probe before. What an L1 norm set to 0 goes first, the smallest mean difference first of all.

    **Units.** With `normalise` each feature is divided by $10 \max(\sigma_j, 10^{-3})$, nothing
    subtracted, as published: ranking, penalty and weights then compare features of any spread (one
    whose deviation is below a thousandth counts less). Probes come back in the units of x given, so
    `probe.decision(x)` takes x as it is; `value`, `bound` and `gap` are of the problem that was
    solved. With `normalise=False` units matter all the way. The published penalty is strong where k and
    n are small: on a few hundred examples it can set every weight of a weak feature to 0.

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1}; `ks`: by default `sparsities(d)`, no more than n.
    `fit(x, y, support)`: makes each `Probe`; by default `shrinking_net`. The ridge in its place:
    `fit=ji.probes.fit`; another loss: `fit=functools.partial(ji.probes.fit, loss="hinge")`. Its gamma
    is in the units of the normalised x, whose deviations are 0.1: 100 there is 1 at deviation 1.

    **Returns:** a dict from k, rising, to `Probe`; `.converged` and `.gap` say how far each fit got.
    Metrics: `metrics(y, probe.decision(x))`.

    **Raises:** as `best_subset`.

    ```python
    for k, probe in ji.probes.adaptive(x, y, ks=[1, 2, 4, 8]).items():
        print(k, ji.probes.metrics(y, probe.decision(x))["f1"])
    ```

    Law: supports are nested; planted neurons are found; units change nothing.
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
    some = x[:, support].astype(np.float64) / scale[support]
    found: dict[int, Probe] = {}
    place = np.arange(len(support))
    for k in reversed(order):
        # Fits sort their columns; ties among weights of 0 go to the larger mean difference.
        probe = fit(some, y, np.sort(place[:k]))
        heavy = np.lexsort((probe.support, -np.abs(probe.weights)))
        place = probe.support[heavy]
        found[k] = _in_place(probe, support, scale[support[probe.support]], d)
    return {k: found[k] for k in order}


def _in_place(probe: Any, columns: np.ndarray, scale: Any, d: int) -> Any:
    """A probe or subset of some columns of x, divided by `scale`, as one of x itself."""
    support = columns[probe.support]
    order = np.argsort(support)
    weights = (probe.weights / scale)[order]
    return dataclasses.replace(probe, support=support[order], weights=weights, features=d)


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned:
    """One turn of `prune`.

    `subset` the best k neurons of those searched, with its certificate; `probe` refitted on them, `f1`
    its F1; `alone (k,)` F1 of each of them alone, in the order of the support; `removed` the best of
    these, `removed_f1` its F1. `searched`: the columns among which the subset is the best.
    """

    subset: Subset
    probe: Probe
    f1: float
    alone: np.ndarray
    removed: int
    removed_f1: float
    searched: np.ndarray

    @property
    def status(self) -> str:
        """ "optimal" where the support was proven the best of those searched, else "time_limit"."""
        return self.subset.status

    @property
    def gap(self) -> float:
        """The relative gap that the search could prove."""
        return self.subset.gap

    def __repr__(self) -> str:
        return (
            f"Pruned(support={self.subset.support.tolist()}, f1={self.f1:.3f}, "
            f"removed={self.removed}, removed_f1={self.removed_f1:.3f}, status={self.status!r}, "
            f"gap={self.gap:.1e}, searched={len(self.searched)})"
        )


def prune(
    x: Any,
    y: Any,
    k: int = 5,
    rounds: int = 10,
    *,
    test: tuple[Any, Any] | None = None,
    prefilter: int | None = 50,
    loss: str = "logistic",
    gamma: float | int | None = None,
    time_limit: float | int = 60,
    fit: Callable[..., Any] = fit,
) -> list[Pruned]:
    r"""$F_1(S_t)$, $S_t$ the best k neurons, as the best single one of them is taken away, again and again.

    A feature in superposition, spread over many neurons, degrades slowly; one with a neuron of its
    own drops at once. Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1}; `k`; `rounds`; `test=(x, y)`: examples on which F1 is
    taken, the training ones by default. `prefilter`: each turn searches the 50 neurons left with the
    largest mean difference, as published; None searches all that are left. `loss`, `gamma` and
    `time_limit` (seconds per turn) as in `best_subset`. `fit(x, y, support)`: the probes whose F1 is
    taken, by default `ji.probes.fit` (C = 1). Units matter: divide neurons of very different spread
    by their deviation first.

    **Returns:** `rounds` of `Pruned`, in order, each with the `status` and `gap` of its search.

    **Raises:** as `best_subset`; ValueError where `rounds` would leave fewer than k neurons.

    ```python
    [(turn.f1, turn.removed, turn.status) for turn in ji.probes.prune(x, y, k=2, rounds=3)]
    ```

    Law: supports are those of brute force; no neuron is removed twice; a dedicated neuron is removed
    first, and F1 drops with it.
    """
    x = as_examples(x)
    n, d = x.shape
    check_k(k, d, n)
    as_labels(y, n)
    if rounds < 1 or rounds + k - 1 > d:
        raise ValueError(f"Of d={d} neurons at most {d - k + 1} rounds leave k={k}; got {rounds}.")
    if prefilter is not None and prefilter < k:
        raise ValueError(f"A search for k={k} neurons needs as many: prefilter={prefilter} is fewer.")
    held_x, held_y = (x, y) if test is None else (as_examples(test[0]), test[1])
    ranked = np.argsort(-rank(x, y), kind="stable")
    turns: list[Pruned] = []
    before = np.array([], int)
    for _ in range(rounds):
        columns = np.sort(ranked if prefilter is None else ranked[:prefilter])
        # What is left of the support before is a start; a start never changes what is optimal.
        start = np.flatnonzero(np.isin(columns, before))
        found = best_subset(
            x[:, columns], y, k, loss, time_limit, gamma=gamma, start=start if len(start) else None
        )
        subset = _in_place(found, columns, 1.0, d)
        probe = fit(x, y, subset.support)
        f1 = metrics(held_y, probe.decision(held_x))["f1"]
        alone = np.array([metrics(held_y, fit(x, y, [j]).decision(held_x))["f1"] for j in subset.support])
        best = int(np.argmax(alone))
        removed = int(subset.support[best])
        turns.append(Pruned(subset, probe, f1, alone, removed, float(alone[best]), columns))
        ranked, before = ranked[ranked != removed], np.delete(subset.support, best)
    return turns
