"""The best k neurons, again and again, without the best single one of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._tabular import Record, Tabular
from ...stats._examples import as_examples, as_labels, check_k
from ...stats._scores import metrics
from ...typing import ArrayLike
from ..linear._adaptive import in_columns_of
from ..linear._fit import Probe, fit
from ..linear._rank import rank
from ._settings import SearchSettings
from ._subset import Subset, best_subset


@dataclasses.dataclass(frozen=True, eq=False)
class Pruned(Tabular):
    """One turn of `ji.probes.prune`.

    - `subset`: the best k neurons of the searched columns, with the certificate. `searched`: these columns.
    - `probe`: a probe that is fitted on the k neurons. `f1`: its F1.
    - `alone (k,)`: F1 of each of the k neurons by itself, in the order of the support.
    - `removed`: the neuron with the best of these; it is missing from the next turn. `removed_f1`: its F1.

    ```python
    turn = ji.probes.prune(x, y, k=2, rounds=3)[0]
    turn.subset.support, turn.f1, turn.removed
    ```
    """

    subset: Subset
    probe: Probe
    f1: float
    alone: np.ndarray
    removed: int
    removed_f1: float
    searched: np.ndarray

    def records(self) -> list[Record]:
        """A row for each neuron of the support: its weight, its F1 alone, and whether the next turn lacks it."""
        return [
            {
                "neuron": int(one),
                "weight": float(w),
                "f1_alone": float(alone),
                "removed": int(one) == self.removed,
            }
            | {"f1": self.f1, "status": self.status, "gap": self.gap}
            for one, w, alone in zip(self.subset.support, self.subset.weights, self.alone, strict=True)
        ]

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
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    rounds: int = 10,
    *,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    prefilter: int | None = 50,
    loss: str = "logistic",
    gamma: float | int | None = None,
    time_limit: float | int = 60,
    fit: Callable[..., Any] = fit,
) -> list[Pruned]:
    r"""$F_1(S_t)$ of the best k neurons $S_t$, after the best single neuron of each turn has been removed.

    The F1 of a feature in superposition, spread over many neurons, falls slowly. The F1 of a feature with a neuron of
    its own falls at once. Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `x (n, d)`: activations, a row per example. Units matter: divide neurons of very different spread by
      their deviation first.
    - `y (n,)`: labels 0 and 1.
    - `k`: the number of neurons of each turn. Default 5.
    - `rounds`: how many turns. Default 10.
    - `test`: the examples (x, y) on which F1 is taken. Default None: the training ones.
    - `prefilter`: each turn searches this many of the remaining neurons, those with the largest mean
      difference. Default 50, as published; None searches all of them.
    - `loss`, `gamma`: as in `best_subset`.
    - `time_limit`: seconds for each turn.
    - `fit(x, y, support)`: the probes whose F1 is taken. Default `ji.probes.fit` (C = 1).

    **Returns:** a list of `Pruned`, one for each turn, with the `status` and `gap` of its search.

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
    test_x, test_y = (x, y) if test is None else (as_examples(test[0]), test[1])
    ranked = np.argsort(-rank(x, y), kind="stable")
    turns: list[Pruned] = []
    before = np.array([], int)
    for _ in range(rounds):
        columns = np.sort(ranked if prefilter is None else ranked[:prefilter])
        # What is left of the support before is a start; a start never changes what is optimal.
        start = np.flatnonzero(np.isin(columns, before))
        settings = SearchSettings(start=start if len(start) else None)
        found = best_subset(x[:, columns], y, k, loss, time_limit, gamma=gamma, settings=settings)
        subset = in_columns_of(found, columns, 1.0, d)
        probe = fit(x, y, subset.support)
        f1 = float(metrics(test_y, probe.decision(test_x)).f1)
        alone = np.array([metrics(test_y, fit(x, y, [j]).decision(test_x)).f1 for j in subset.support])
        best = int(np.argmax(alone))
        removed = int(subset.support[best])
        turns.append(Pruned(subset, probe, f1, alone, removed, float(alone[best]), columns))
        ranked, before = ranked[ranked != removed], np.delete(subset.support, best)
    return turns
