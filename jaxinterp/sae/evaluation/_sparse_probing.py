"""How well a few features predict a label."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from ... import viz
from ..._deprecations import respelled
from ...core._check import check_key
from ...stats import Record, Result
from ...typing import ArrayLike, KeyLike
from ._inputs import Fit, accuracy, as_classes, as_matrix, balanced, logistic


@dataclasses.dataclass(frozen=True, eq=False)
class SparseProbing(Result):
    """Accuracies of probes that read k features; made by `sparse_probing`.

    - `accuracy`: by k, the mean over classes.
    - `by_class`: by k, the accuracies `(classes,)`.
    - `features`: by k, the features of the probes `(classes, k)`.
    - `classes`: the names of the classes. With two classes only the second is probed, because the first is its opposite.

    ```python
    found = ji.sae.sparse_probing(f, letters, f, letters, ks=[1, 2], key=key)
    found.accuracy, found.features[2]
    ```
    """

    accuracy: dict[int, float]
    by_class: dict[int, np.ndarray]
    features: dict[int, np.ndarray]
    classes: list[Any]

    def records(self) -> list[Record]:
        """One row for each k and class."""
        return [
            {
                "k": k,
                "class": name,
                "accuracy": float(self.by_class[k][c]),
                "features": self.features[k][c].tolist(),
            }
            for k in self.accuracy
            for c, name in enumerate(self.classes)
        ]

    def figure(self, *, title: str = "Probes of a few features") -> viz.Figure:
        """Accuracy by k: the mean, and up to four classes."""
        curves = {"mean": list(self.accuracy.values())}
        for c, name in enumerate(self.classes[:4]):
            curves[str(name)] = [float(each[c]) for each in self.by_class.values()]
        return viz.lines(
            curves, x=list(self.accuracy), x_axis="features (k)", y_axis="accuracy", log=True, title=title
        )


@respelled(seed="key=jax.random.key(0)")
def sparse_probing(
    f_train: ArrayLike,
    y_train: ArrayLike,
    f_test: ArrayLike,
    y_test: ArrayLike,
    ks: Iterable[int] = (1, 2, 5),
    *,
    key: KeyLike,
    fit: Fit | None = None,
) -> SparseProbing:
    r"""Accuracy of a logistic regression on the k features of largest $|\bar f_{i \mid c} - \bar f_{i \mid \neg c}|$.

    Each class is compared with as many rows of other classes, so chance is 1/2. The accuracy is a mean over
    classes. Features are chosen and the regression is fitted on the training rows only.

    **Arguments:**

    - `f_train`, `f_test (rows, features)`: latent values, a row per document (see `pooled`).
    - `y_train`, `y_test`: `(rows,)` of classes, or `(rows, classes)` of bools.
    - `ks`: the numbers of features k. Default 1, 2 and 5.
    - `key`: a `jax.random.key`, which draws the rows that balance the classes.
    - `fit(x, y)`: returns weights and a bias. Default: logistic regression with C = 1.

    **Returns:** `SparseProbing`; `found["accuracy"]` is `found.accuracy`.

    **Raises:** ValueError for other shapes, NaN, one class, or k beyond the features.

    Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532).

    ```python
    train, test = slice(len(f) // 2), slice(len(f) // 2, None)
    found = ji.sae.sparse_probing(f[train], letters[train], f[test], letters[test], ks=[1, 2], key=key)
    found.accuracy[1]
    ```

    Law: where one feature is the label, the accuracy at k = 1 is 1; features that do not depend on the label have 1/2.
    """
    f_train = as_matrix("f_train", f_train)
    f_test = as_matrix("f_test", f_test, columns=f_train.shape[1])
    names, train = as_classes("y_train", y_train, len(f_train))
    test_names, test = as_classes("y_test", y_test, len(f_test))
    if names != test_names:
        raise ValueError(f"Classes of training and test differ: {names[:9]} and {test_names[:9]}.")
    if len(names) == 2 and np.ndim(y_train) == 1:
        names, train, test = names[1:], train[:, 1:], test[:, 1:]
    ks = sorted({int(k) for k in ks})
    if not ks or ks[0] < 1 or ks[-1] > f_train.shape[1]:
        raise ValueError(f"ks are from 1 to the number of features, {f_train.shape[1]}; got {ks}.")
    fit = logistic if fit is None else fit
    key = check_key(key, "ji.sae.sparse_probing(..., key={})")
    right, chosen = np.zeros((len(ks), len(names))), []
    for c in range(len(names)):
        own = jax.random.fold_in(key, c)
        rows = balanced(own, train[:, c], ~train[:, c])
        others = balanced(own, test[:, c], ~test[:, c])
        order = ranked(f_train[rows], train[rows, c])[: ks[-1]]
        chosen.append(order)
        for i, k in enumerate(ks):
            found = fit(f_train[np.ix_(rows, order[:k])], train[rows, c])
            right[i, c] = accuracy(found, f_test[np.ix_(others, order[:k])], test[others, c])
    return SparseProbing(
        accuracy=dict(zip(ks, right.mean(-1).tolist(), strict=True)),
        by_class=dict(zip(ks, right, strict=True)),
        features={k: np.asarray(chosen)[:, :k] for k in ks},
        classes=names,
    )


def ranked(f: np.ndarray, y: np.ndarray, signed: bool = False) -> np.ndarray:
    """Features by the difference of their means on and off the label, the largest first."""
    gap = f[y].mean(0, dtype=np.float64) - f[~y].mean(0, dtype=np.float64)
    return np.argsort(-gap if signed else -np.abs(gap), kind="stable")
