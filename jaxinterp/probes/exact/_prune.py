"""The best k neurons, again and again, without the best single one of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...stats._examples import as_examples, as_labels, check_k
from ...stats._scores import metrics
from ..linear._adaptive import in_columns_of
from ..linear._fit import Probe, fit
from ..linear._rank import rank
from ._subset import Subset, best_subset


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
        subset = in_columns_of(found, columns, 1.0, d)
        probe = fit(x, y, subset.support)
        f1 = metrics(held_y, probe.decision(held_x))["f1"]
        alone = np.array([metrics(held_y, fit(x, y, [j]).decision(held_x))["f1"] for j in subset.support])
        best = int(np.argmax(alone))
        removed = int(subset.support[best])
        turns.append(Pruned(subset, probe, f1, alone, removed, float(alone[best]), columns))
        ranked, before = ranked[ranked != removed], np.delete(subset.support, best)
    return turns
