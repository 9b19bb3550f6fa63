"""Targeted probe perturbation: features of one class, taken out, should lower the accuracy of its probe and of no other."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ...core._check import check_key
from ...stats import Record, Result
from ...typing import ArrayLike, DictionaryLike, KeyLike
from ._inputs import Fit, accuracy, as_classes, as_matrix, balanced, probe, rows_of

TOPS = (2, 5, 10, 20, 50, 100, 500)


@dataclasses.dataclass(frozen=True, eq=False)
class TargetedPerturbation(Result):
    """The drop of accuracies when the features of a class are removed; made by `tpp`.

    - `score`: by the number of features N, the intended drop minus the unintended one.
    - `intended`, `unintended`: by N, the mean drop in accuracy of a class's own probe, and of the other probes.
    - `drops`: by N, the drops `(ablated class, probe)`.
    - `accuracy (classes,)`: the accuracy before the removal.
    - `features`: for each class the features that matter most, in order, as many as the largest N.

    ```python
    rows = (x, f, letters)
    found = ji.sae.tpp(rows, rows, sae, key=key, tops=[2, 10])
    found.score, found.drops[10]
    ```
    """

    score: dict[int, float]
    intended: dict[int, float]
    unintended: dict[int, float]
    drops: dict[int, np.ndarray]
    accuracy: np.ndarray
    features: list[np.ndarray]

    def records(self) -> list[Record]:
        """One row for each number of features."""
        return [
            {"top": n, "score": self.score[n], "intended": self.intended[n], "unintended": self.unintended[n]}
            for n in self.score
        ]

    def figure(self, *, title: str = "Removal of a class's features") -> viz.Figure:
        """Drops in accuracy by the number of features: of the class itself, and of the others."""
        curves = {name: list(getattr(self, name).values()) for name in ("score", "intended", "unintended")}
        return viz.lines(curves, x=list(self.score), x_axis="features", y_axis="drop", log=True, title=title)


@respelled(seed="key=jax.random.key(0)")
def tpp(
    train: Sequence[ArrayLike],
    test: Sequence[ArrayLike],
    decoder: DictionaryLike | ArrayLike,
    *,
    key: KeyLike,
    tops: Iterable[int] = TOPS,
    fit: Fit | None = None,
) -> TargetedPerturbation:
    r"""$\overline{\Delta_{c \to c}} - \overline{\Delta_{c \to c'}}$: the drop of a class's own probe minus that of other probes.

    Targeted probe perturbation. Feature i matters to class c by
    $\max(0, \bar f_{i \mid c} - \bar f_{i \mid \neg c})\, (w_c \cdot d_i)$, with $w_c$ the probe of class c on mean
    activations. The N features that matter most are removed, $x - \sum_i f_i d_i$, and the dictionary's error is kept.
    $\Delta_{c \to c'}$ is the drop in accuracy of the probe of $c'$.

    **Arguments:**

    - `train`, `test`: (x, f, y): mean activations `(rows, d)`, mean latent values `(rows, features)` (see
      `pooled`) and labels, `(rows,)` of three or more classes, or `(rows, classes)` of bools.
    - `decoder`: the dictionary, or its rows in the units of x.
    - `key`: a `jax.random.key`, which draws the rows. A probe is trained and tested on the same number of rows of its
      class and of other classes.
    - `tops`: the numbers of features that are removed. Default 2 to 500.
    - `fit(x, y)`: returns weights and a bias. Default, as published: batches of 16, 20 epochs, Adam at
      1e-3, L1 1e-3.

    **Returns:** `TargetedPerturbation`; `found["score"]` is `found.score`.

    **Raises:** ValueError for other shapes, NaN, and two classes that are each other's complement.

    Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532).

    ```python
    rows = (x, f, letters)                              # better: other rows for the test
    found = ji.sae.tpp(rows, rows, sae, key=jax.random.key(0), tops=[2, 10])
    found.score[10]
    ```

    Law: where two independent classes have a feature each, the score is 1/2; where they share one feature, it is 0.
    """
    rows, key = rows_of(decoder), check_key(key, "ji.sae.tpp(..., key={})")
    x, f, names, y = _examples("train", train, rows)
    x_test, f_test, others, y_test = _examples("test", test, rows)
    if names != others:
        raise ValueError(f"Classes of training and test differ: {names[:9]} and {others[:9]}.")
    fit, count = probe if fit is None else fit, len(names)
    keys = [jax.random.fold_in(key, c) for c in range(count)]
    used = [balanced(keys[c], y[:, c], ~y[:, c]) for c in range(count)]
    test_rows = [balanced(keys[c], y_test[:, c], ~y_test[:, c]) for c in range(count)]
    probes = [fit(x[used[c]], y[used[c], c]) for c in range(count)]
    order = []
    for c in range(count):
        gap = f[y[:, c]].mean(0) - f[~y[:, c]].mean(0)
        order.append(largest(np.maximum(gap, 0) * (rows @ np.asarray(probes[c][0], np.float32))))

    def right(c: int, values: np.ndarray) -> float:
        return accuracy(probes[c], values[test_rows[c]], y_test[test_rows[c], c])

    before = np.asarray([right(c, x_test) for c in range(count)])
    drops: dict[int, np.ndarray] = {}
    for n in check_tops(tops):
        drops[n] = np.empty((count, count))
        for c in range(count):
            left = without(x_test, f_test, rows, order[c][:n])
            drops[n][c] = before - [right(other, left) for other in range(count)]
    own = {n: float(np.mean(np.diag(drop))) for n, drop in drops.items()}
    off = {n: float(drop[~np.eye(count, dtype=bool)].mean()) for n, drop in drops.items()}
    return TargetedPerturbation(
        score={n: own[n] - off[n] for n in drops},
        intended=own,
        unintended=off,
        drops=drops,
        accuracy=before,
        features=[o[: max(drops)] for o in order],
    )


def _examples(name: str, given: Any, rows: np.ndarray) -> tuple[Any, Any, list[Any], Any]:
    if len(given) != 3:
        raise ValueError(f"{name} is (x, f, y): activations, features, labels; got {len(given)}.")
    x = as_matrix(f"x of {name}", given[0], columns=rows.shape[1])
    f = as_matrix(f"f of {name}", given[1], rows=len(x), columns=len(rows))
    names, y = as_classes(f"y of {name}", given[2], len(x))
    if y.shape[1] < 2 or (np.ndim(given[2]) == 1 and len(names) == 2):
        raise ValueError(
            "Two classes of which one is 'not the other' have one probe between them: tpp needs "
            "three classes or more, or labels (rows, classes) of independent attributes."
        )
    return x, f, names, y


def largest(effect: np.ndarray) -> np.ndarray:
    """Features by effect, the largest first; those without any are left out."""
    order = np.argsort(-effect, kind="stable")
    return order[effect[order] != 0]


def without(x: np.ndarray, f: np.ndarray, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Activations with some features at 0, what the dictionary misses kept."""
    return x - f[:, chosen] @ rows[chosen]


def check_tops(tops: Iterable[int]) -> list[int]:
    found = sorted({int(n) for n in tops})
    if not found or found[0] < 1:
        raise ValueError(f"tops are numbers of features of 1 or more; got {found}.")
    return found
