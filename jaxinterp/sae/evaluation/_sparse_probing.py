"""How much of a label a few features say."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ._inputs import Fit, accuracy, as_classes, as_matrix, balanced, logistic


def sparse_probing(
    f_train: Any,
    y_train: Any,
    f_test: Any,
    y_test: Any,
    ks: Iterable[int] | Any = (1, 2, 5),
    *,
    fit: Fit | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Accuracy of a logistic regression on the k features of largest $|\bar f_{i \mid c} - \bar f_{i \mid \neg c}|$.

    A class stands against as many rows of the others, so that chance is 1/2; several classes are
    averaged. Features are chosen and the regression is fitted on the training rows only.

    **Arguments:** features `f_train`, `f_test (rows, features)`, a row per document (see `pooled`);
    labels `y_train`, `y_test`: `(rows,)` of classes, or `(rows, classes)` of bools; `ks`; `fit(x, y)`
    that returns weights and a bias, by default logistic with an L2 of C = 1; `seed` of the rows drawn.

    **Returns:** a dict: `accuracy` by k; `by_class`, for every k an array `(classes,)`; `features`,
    for every k an array `(classes, k)`; `classes`, their names. Of two classes only the second one
    is probed for, as the first is its mirror image.

    **Raises:** ValueError for other shapes, NaN, one class, or k beyond the features.

    Karvonen et al. 2025 (https://arxiv.org/abs/2503.09532).

    ```python
    found = ji.sae.sparse_probing(f_train, y_train, f_test, y_test)
    found["accuracy"][1]
    ```

    Law: a feature that is the label has accuracy 1 at k = 1; features without relation 1/2.
    """
    f_train = as_matrix("f_train", f_train)
    f_test = as_matrix("f_test", f_test, columns=f_train.shape[1])
    names, train = as_classes("y_train", y_train, len(f_train))
    others, test = as_classes("y_test", y_test, len(f_test))
    if names != others:
        raise ValueError(f"Classes of training and test differ: {names[:9]} and {others[:9]}.")
    if len(names) == 2 and np.ndim(y_train) == 1:
        names, train, test = names[1:], train[:, 1:], test[:, 1:]
    ks = sorted({int(k) for k in ks})
    if not ks or ks[0] < 1 or ks[-1] > f_train.shape[1]:
        raise ValueError(f"ks are from 1 to the number of features, {f_train.shape[1]}; got {ks}.")
    fit = logistic if fit is None else fit
    right, chosen = np.zeros((len(ks), len(names))), []
    for c in range(len(names)):
        rows = balanced([seed, c], train[:, c], ~train[:, c])
        held = balanced([seed, c], test[:, c], ~test[:, c])
        order = ranked(f_train[rows], train[rows, c])[: ks[-1]]
        chosen.append(order)
        for i, k in enumerate(ks):
            found = fit(f_train[np.ix_(rows, order[:k])], train[rows, c])
            right[i, c] = accuracy(found, f_test[np.ix_(held, order[:k])], test[held, c])
    return {
        "accuracy": dict(zip(ks, right.mean(-1).tolist(), strict=True)),
        "by_class": dict(zip(ks, right, strict=True)),
        "features": {k: np.asarray(chosen)[:, :k] for k in ks},
        "classes": names,
    }


def ranked(f: np.ndarray, y: np.ndarray, signed: bool = False) -> np.ndarray:
    """Features by the difference of their means on and off the label, the largest first."""
    gap = f[y].mean(0, dtype=np.float64) - f[~y].mean(0, dtype=np.float64)
    return np.argsort(-gap if signed else -np.abs(gap), kind="stable")
