"""From many features to few: supports that shrink by the weights of the probe before."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._fit import Probe, fit
from ._input import as_examples, as_labels, check_k
from ._metrics import metrics
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


def adaptive(
    x: Any,
    y: Any,
    ks: Iterable[int] | None = None,
    *,
    loss: str = "logistic",
    gamma: float | int = 1.0,
    balanced: bool = True,
) -> dict[int, Probe]:
    r"""$S_{k'} = \mathrm{top}_{k'} \lvert w_{S_k} \rvert \sigma$ for $k' < k$: a probe for each k, on nested supports.

    Starts from the largest k by mean difference and keeps the heaviest weights each time (times the
    feature's spread, so that units do not matter). After Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610), with ridge in place of the elastic net.

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1}; `ks`: by default `sparsities(d)`; `loss`
    "logistic" or "hinge"; `gamma`, `balanced` as in `fit`.

    **Returns:** a dict from k, rising, to `Probe`. Metrics: `metrics(y, probe.decision(x))`.

    **Raises:** as `best_subset`.

    ```python
    for k, probe in ji.probes.adaptive(x, y, ks=[1, 2, 4, 8]).items():
        print(k, ji.probes.metrics(y, probe.decision(x))["f1"])
    ```

    Law: supports are nested; planted neurons are found.
    """
    x = as_examples(x)
    n, d = x.shape
    as_labels(y, n)
    if loss not in ("logistic", "hinge"):
        raise ValueError(
            f"Adaptive thresholding ranks classes: 'logistic' or 'hinge'; got {loss!r}."
        )
    order = sorted({check_k(k, d, n) for k in (sparsities(min(d, n)) if ks is None else ks)})
    if not order:
        raise ValueError("ks names at least one number of features: ks=[1, 2, 4, 8].")
    spread = x.std(0)
    support = np.argsort(-rank(x, y), kind="stable")[: order[-1]]
    found: dict[int, Probe] = {}
    for k in reversed(order):
        probe = fit(x, y, support[:k], loss, gamma=gamma, balanced=balanced)
        found[k] = probe
        heavy = np.argsort(-np.abs(probe.weights) * spread[probe.support], kind="stable")
        support = probe.support[heavy]
    return {k: found[k] for k in order}


@dataclass(frozen=True, eq=False)
class Pruned:
    """One turn of `prune`: the sparse probe, `removed` the best single neuron in it, and F1 of both."""

    probe: Probe
    f1: float
    removed: int
    removed_f1: float


def prune(
    x: Any,
    y: Any,
    k: int = 5,
    rounds: int = 10,
    *,
    test: tuple[Any, Any] | None = None,
    gamma: float | int = 1.0,
) -> list[Pruned]:
    r"""$F_1(S_t)$ as the best neuron of the k-sparse probe is taken away, again and again.

    A feature in superposition, spread over many neurons, degrades slowly; one with a neuron of its
    own drops at once. Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1}; `k`; `rounds`; `test=(x, y)`: examples on which F1 is
    taken, the training ones by default.

    **Returns:** `rounds` of `Pruned`, in order. Supports are those of `adaptive` among what is left.

    **Raises:** as `best_subset`; ValueError where `rounds` would leave fewer than k neurons.

    ```python
    [turn.f1 for turn in ji.probes.prune(x, y, k=2, rounds=3)]
    ```

    Law: no neuron is removed twice; a dedicated neuron is removed first, and F1 drops with it.
    """
    x = as_examples(x)
    n, d = x.shape
    check_k(k, d, n)
    as_labels(y, n)
    if rounds < 1 or rounds + k - 1 > d:
        raise ValueError(f"Of d={d} neurons at most {d - k + 1} rounds leave k={k}; got {rounds}.")
    held_x, held_y = (x, y) if test is None else (as_examples(test[0]), test[1])
    left = np.arange(d)
    turns = []
    for _ in range(rounds):
        width = min(len(left), n, 10 * k)
        some = adaptive(x[:, left], y, sorted({k, width}), gamma=gamma)[k]
        support = left[some.support]
        probe = fit(x, y, support, gamma=gamma)
        alone = [
            metrics(held_y, fit(x, y, [j], gamma=gamma).decision(held_x))["f1"] for j in support
        ]
        best = int(np.argmax(alone))
        f1 = metrics(held_y, probe.decision(held_x))["f1"]
        turns.append(Pruned(probe, f1, int(support[best]), alone[best]))
        left = left[left != support[best]]
    return turns
