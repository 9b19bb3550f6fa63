"""What a score is by chance: labels in random order, and neurons drawn at random."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ...core._check import check_key
from ...stats._examples import as_examples, as_support
from ..linear._dense import dense
from ._controls import shuffled_labels
from ._selectivity import rows


@dataclass(frozen=True, eq=False)
class Null:
    """`observed` score; `scores (count,)` by chance; `p_value` (1 + how many reach it) / (1 + count)."""

    observed: float
    scores: np.ndarray
    p_value: float


def balanced_accuracy(y: Any, predicted: Any) -> float:
    r"""$\frac1c \sum_c \mathrm{recall}_c$ over the classes that y has; 1/c by chance."""
    y, predicted = np.asarray(y), np.asarray(predicted)
    return float(np.mean([(predicted[y == c] == c).mean() for c in np.unique(y)]))


def nulls(
    x: Any,
    y: Any,
    support: Any = None,
    *,
    train: Any,
    test: Any,
    key: Any,
    count: int = 99,
    fit: Callable[..., Any] | None = None,
    select: Callable[..., Any] | None = None,
    score: Callable[..., float] = balanced_accuracy,
) -> dict[str, Null]:
    r"""$p = \frac{1 + \#\{s_r \ge s\}}{1 + R}$ of a probe's test score, against two kinds of chance.

    `"shuffle"`: the labels of all examples in random order, fitted and scored anew. `"coordinates"`:
    the same labels from as many neurons drawn at random. One call of `fit` for all.

    **Arguments:**

    - `x (n, d)`; `y (n,)`; `support`: the columns claimed, by default all (then there is no
      `"coordinates"`).
    - `train`, `test`: indices or masks. `key`; `count` draws of each kind.
    - `fit(x, y)` with x `(..., n, k)`, y `(..., n)` whose leading axes broadcast; by default `dense`.
    - `select(x, y)`: the search that found the columns, in place of `support`: it is repeated on the
      training examples of every shuffle. Columns chosen on the same labels that they are tested on
      beat a null that did not choose.
    - `score(y, predicted)`: a number, higher is better.

    **Returns:** `{"shuffle": Null, "coordinates": Null}`.

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
    if count < 1:
        raise ValueError(f"count is how many draws make a null, 1 or more; got {count}.")
    if select is not None and support is not None:
        raise ValueError("Columns come from support=, or from the search select=; give one of them.")
    train, test = rows(train, n, "train"), rows(test, n, "test")
    fit = dense if fit is None else fit
    key_order, key_columns = jax.random.split(check_key(key, "ji.probes.nulls(..., key={})"))
    labels = np.concatenate([y[None], shuffled_labels(y, count, key=key_order)])
    if select is None:
        columns = as_support(support, d)
        some = x[:, columns]
    else:
        chosen = [as_support(select(x[train], each[train]), d) for each in labels]
        if len({len(each) for each in chosen}) > 1:
            raise ValueError("select(x, y) gives the same number of columns for all labels.")
        columns, some = chosen[0], np.stack([x[:, each] for each in chosen])
    if len(columns) == d:
        said = np.asarray(fit(some[..., train, :], labels[:, train]).predict(some[..., test, :]))
        return {"shuffle": _null([score(a, b) for a, b in zip(labels[:, test], said, strict=True)])}
    draws = [
        np.asarray(jax.random.choice(k, d, (len(columns),), replace=False))
        for k in jax.random.split(key_columns, count)
    ]
    # Both kinds of chance are problems of the same shape: one call.
    some = np.broadcast_to(some, (count + 1, n, len(columns)))
    some = np.concatenate([some, np.stack([x[:, each] for each in draws])])
    labels = np.concatenate([labels, np.broadcast_to(y, (count, n))])
    said = np.asarray(fit(some[:, train], labels[:, train]).predict(some[:, test]))
    scores = [score(a, b) for a, b in zip(labels[:, test], said, strict=True)]
    return {
        "shuffle": _null(scores[: count + 1]),
        "coordinates": _null([scores[0], *scores[count + 1 :]]),
    }


def _null(scores: list[float]) -> Null:
    observed, drawn = scores[0], np.asarray(scores[1:])
    reach = (1 + (drawn >= observed).sum()) / (1 + len(drawn))
    # A score that is no number reaches nothing, and nothing reaches it.
    return Null(observed, drawn, float(reach) if np.isfinite([observed, *drawn]).all() else np.nan)
