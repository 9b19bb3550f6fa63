"""What a score is by chance: labels in random order, and neurons drawn at random."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ...core._check import check_key
from ...stats import Record, Result, permutation_p
from ...stats._examples import as_examples, as_support
from ...typing import ArrayLike, IndexLike, KeyLike
from ..linear._dense import dense
from ._controls import shuffled_labels
from ._selectivity import rows


@dataclass(frozen=True, eq=False)
class Null:
    """A score and the scores by chance; made by `ji.probes.nulls`.

    - `observed`: the score. `scores (resamples,)`: the scores by chance.
    - `p_value`: `ji.stats.permutation_p` of them.

    ```python
    null = ji.probes.nulls(x, y, [3, 14], train=train, test=test, key=jax.random.key(0)).shuffle
    null.observed, null.scores.mean(), null.p_value
    ```
    """

    observed: float
    scores: np.ndarray
    p_value: float


@dataclass(frozen=True, eq=False)
class Nulls(Result):
    """A score compared with two kinds of chance; made by `ji.probes.nulls`. `found["shuffle"]` is `found.shuffle`.

    - `shuffle`: scores with the labels of all examples in random order.
    - `coordinates`: scores with the same number of random neurons; None where all columns are used.

    ```python
    found = ji.probes.nulls(x, y, [3, 14], train=train, test=test, key=jax.random.key(0))
    found.shuffle.p_value, found["coordinates"].p_value
    ```
    """

    shuffle: Null
    coordinates: Null | None = None

    def records(self) -> list[Record]:
        """One row for each kind of chance."""
        return [
            {"chance": name, "observed": null.observed, "mean": float(null.scores.mean()), "p": null.p_value}
            for name, null in self.items()
        ]

    def figure(self, *, title: str = "A score beside chance") -> viz.Figure:
        """A histogram of the scores by chance; the observed score is marked."""
        scores = {name: np.asarray(null.scores) for name, null in self.items()}
        every = np.concatenate([*scores.values(), [self.shuffle.observed]])
        edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-9), 25)
        counts = {name: np.histogram(values, edges)[0] for name, values in scores.items()}
        marks = {"observed": self.shuffle.observed}
        return viz.histogram(counts, edges, marks=marks, x_axis="score", title=title)


def balanced_accuracy(y: ArrayLike, predicted: ArrayLike) -> float:
    r"""$\frac1c \sum_c \mathrm{recall}_c$ over the classes that y has; 1/c by chance."""
    y, predicted = np.asarray(y), np.asarray(predicted)
    return float(np.mean([(predicted[y == c] == c).mean() for c in np.unique(y)]))


@respelled(count="resamples=")
def nulls(
    x: ArrayLike,
    y: ArrayLike,
    support: IndexLike | None = None,
    *,
    train: ArrayLike,
    test: ArrayLike,
    key: KeyLike,
    resamples: int = 99,
    fit: Callable[..., Any] | None = None,
    select: Callable[..., Any] | None = None,
    score: Callable[..., float] = balanced_accuracy,
) -> Nulls:
    r"""$p = \frac{1 + \#\{s_r \ge s\}}{1 + R}$ of a probe's test score, against two kinds of chance.

    `"shuffle"` puts the labels of all examples in random order, and fits and scores again. `"coordinates"` keeps the
    labels and takes the same number of random neurons. One call of `fit` serves all draws.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels.
    - `support`: the columns that the claim is about. Default: all; then there is no `coordinates`.
    - `train`, `test`: indices of examples, or masks `(n,)`.
    - `key`: draws orders and columns.
    - `resamples`: draws of each kind of chance. Default 99.
    - `fit(x, y)` with x `(..., n, k)`, y `(..., n)` whose leading axes broadcast; by default `dense`.
    - `select(x, y)`: the search that finds the columns, in place of `support`. It is repeated on the
      training examples of every shuffle, because a null without this choice would be too easy to beat.
    - `score(y, predicted)`: a number, higher is better.

    **Returns:** `Nulls`.

    **Raises:** as `dense`; IndexError for columns that x lacks.

    ```python
    best = lambda x, y: np.argsort(-ji.probes.rank(x, y))[:2]
    found = ji.probes.nulls(x, y, train=train, test=test, select=best, key=jax.random.key(0))
    found["shuffle"].p_value, found["coordinates"].p_value
    ```

    Law: on labels of pure noise p-values are uniform.
    """
    x, y = as_examples(x), np.asarray(y)
    n, d = x.shape
    if y.shape != (n,):
        raise ValueError(f"There is one label per example, ({n},); got the shape {y.shape}.")
    if resamples < 1:
        raise ValueError(f"resamples is how many draws make a null, 1 or more; got {resamples}.")
    if select is not None and support is not None:
        raise ValueError("Columns come from support=, or from the search select=; give one of them.")
    train, test = rows(train, n, "train"), rows(test, n, "test")
    fit = dense if fit is None else fit
    key_order, key_columns = jax.random.split(check_key(key, "ji.probes.nulls(..., key={})"))
    labels = np.concatenate([y[None], shuffled_labels(y, resamples, key=key_order)])
    if select is None:
        columns = as_support(support, d)
        read = x[:, columns]
    else:
        chosen = [as_support(select(x[train], each[train]), d) for each in labels]
        if len({len(each) for each in chosen}) > 1:
            raise ValueError("select(x, y) gives the same number of columns for all labels.")
        columns, read = chosen[0], np.stack([x[:, each] for each in chosen])
    if len(columns) == d:
        predicted = np.asarray(fit(read[..., train, :], labels[:, train]).predict(read[..., test, :]))
        return Nulls(_null([score(a, b) for a, b in zip(labels[:, test], predicted, strict=True)]))
    draws = [
        np.asarray(jax.random.choice(k, d, (len(columns),), replace=False))
        for k in jax.random.split(key_columns, resamples)
    ]
    # Both kinds of chance are problems of the same shape: one call.
    read = np.broadcast_to(read, (resamples + 1, n, len(columns)))
    read = np.concatenate([read, np.stack([x[:, each] for each in draws])])
    labels = np.concatenate([labels, np.broadcast_to(y, (resamples, n))])
    predicted = np.asarray(fit(read[:, train], labels[:, train]).predict(read[:, test]))
    scores = [score(a, b) for a, b in zip(labels[:, test], predicted, strict=True)]
    return Nulls(_null(scores[: resamples + 1]), _null([scores[0], *scores[resamples + 1 :]]))


def _null(scores: list[float]) -> Null:
    return Null(scores[0], np.asarray(scores[1:]), permutation_p(scores[0], scores[1:]))
