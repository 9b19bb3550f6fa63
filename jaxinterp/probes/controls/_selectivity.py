"""Whether a probe reads a property or remembers types: selectivity."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..._deprecations import respelled
from ..._tabular import Record, Tabular
from ...core._check import check_key
from ...stats._examples import as_examples
from ...typing import ArrayLike, KeyLike
from ..linear._dense import dense
from ._controls import control_labels, shuffled_labels

unbalanced = functools.partial(dense, balanced=False)
"""What accuracy is the measure of: every example counts once."""


@dataclass(frozen=True, eq=False)
class Selectivity(Tabular):
    """Accuracies on test examples; made by `selectivity`. `...` are the leading axes of x.

    - `accuracy (...)`: on the task. `control (..., controls)`: on each control task.
    - `selectivity (...)`: the accuracy minus the mean control.
    - `seen_accuracy`, `seen_control`, `seen_selectivity`: the same on test examples whose type occurs in
      training. `seen`: the share of these examples.
    - `shuffled (..., shuffles)`: on labels in random order.
    - `majority`: the accuracy of the most frequent training label for all examples.

    ```python
    found = ji.probes.selectivity(x, y, tokens, train=train, test=test, key=jax.random.key(0))
    found.accuracy, found.control.mean(-1), found.selectivity
    ```
    """

    accuracy: np.ndarray
    control: np.ndarray
    selectivity: np.ndarray
    seen_accuracy: np.ndarray
    seen_control: np.ndarray
    seen_selectivity: np.ndarray
    shuffled: np.ndarray
    majority: float
    seen: float

    def records(self) -> list[Record]:
        """A row for each task: its indices, its accuracy, the mean over controls and shuffles, and the selectivity."""
        means = {"control": self.control.mean(-1), "shuffled": self.shuffled.mean(-1)}
        parts = {"accuracy": self.accuracy, "selectivity": self.selectivity, **means}
        parts |= {"seen_accuracy": self.seen_accuracy, "seen_selectivity": self.seen_selectivity}
        return [
            {f"axis {i}": j for i, j in enumerate(at)}
            | {name: float(np.asarray(part)[at]) for name, part in parts.items()}
            | {"majority": self.majority, "seen": self.seen}
            for at in np.ndindex(np.shape(self.accuracy))
        ]


@respelled(together="batched=")
def selectivity(
    x: ArrayLike,
    y: ArrayLike,
    types: ArrayLike,
    *,
    train: ArrayLike,
    test: ArrayLike,
    key: KeyLike,
    fit: Callable[..., Any] | None = None,
    controls: int = 5,
    shuffles: int = 0,
    batched: bool = True,
) -> Selectivity:
    r"""$\mathrm{acc}(y) - \mathrm{acc}(C(\text{type}))$: how much better a probe is than one that memorises types.

    Hewitt & Liang 2019 (https://arxiv.org/abs/1909.03368). The probes of the task, of every control
    task and of shuffled labels are fitted in one call, as one axis of labels.

    **Arguments:**

    - `x (..., n, d)`: activations, with any leading axes (layers).
    - `y (n,)`: labels.
    - `types (n,)`: the type of each example, such as a token id or a word; a type has one control label.
    - `train`, `test`: indices of examples or masks `(n,)`, as `data.split` gives.
    - `key`: draws control labels and orders.
    - `fit`: a probe function: `fit(x, y)` with y `(labels, n)`, x `(n, d)` or `(..., 1, n, d)`, gives an object whose
      `.predict(x)` is `(..., labels, m)`. By default `dense(x, y, balanced=False)`; others by
      `functools.partial(ji.probes.mlp, hidden=(64,), key=key)`.
    - `controls`: how many control tasks. Default 5.
    - `shuffles`: how many random orders of the labels. Default 0.
    - `batched`: whether `fit` takes all labellings at once. Default True. With False it is called for each x
      `(n, d)` and y `(n,)` by itself, as `ji.probes.fit` needs it.

    **Returns:** `Selectivity`.

    **Raises:** ValueError where no type occurs in both training and test: accuracy on a control task is then chance,
    and selectivity has no meaning.

    ```python
    train, test = ji.data.split(groups, key=jax.random.key(0))
    found = ji.probes.selectivity(x, y, tokens, train=train, test=test, key=jax.random.key(0))
    found.accuracy, found.selectivity
    ```

    Law: on types that the training examples lack, control accuracy is that of chance.
    """
    x = as_examples(x, layers=True)
    y, types = np.asarray(y), np.asarray(types)
    n = x.shape[-2]
    if y.shape != (n,) or types.shape != (n,):
        raise ValueError(
            f"There is one label and one type per example: x has n={n} rows (its axis -2); got y "
            f"{y.shape}, types {types.shape}."
        )
    if controls < 1 or shuffles < 0:
        raise ValueError(f"controls is 1 or more, shuffles 0 or more; got {controls}, {shuffles}.")
    train, test = rows(train, n, "train"), rows(test, n, "test")
    known = np.isin(types[test], types[train])
    if not known.any():
        raise ValueError(
            "No type of a test example occurs in training, so that no control task can be learnt: "
            "selectivity is undefined. Types repeat: token ids or words, not numbers of examples."
        )
    key_types, key_order = jax.random.split(check_key(key, "ji.probes.selectivity(..., key={})"))
    drawn = [control_labels(types, y, key=k) for k in jax.random.split(key_types, controls)]
    orders = list(shuffled_labels(y, shuffles, key=key_order)) if shuffles else []
    labels = np.stack([y, *drawn, *orders])
    right = predictions(unbalanced if fit is None else fit, x, labels, train, test, batched)
    right = right == labels[:, test]
    share, seen_share = right.mean(-1), right[..., known].mean(-1)
    own, control, rest = np.split(share, [1, 1 + controls], -1)
    seen, seen_control, _ = np.split(seen_share, [1, 1 + controls], -1)
    kinds, counts = np.unique(y[train], return_counts=True)
    task, task_seen = np.asarray(own[..., 0]), np.asarray(seen[..., 0])
    return Selectivity(
        task,
        control,
        np.asarray(task - control.mean(-1)),
        task_seen,
        seen_control,
        np.asarray(task_seen - seen_control.mean(-1)),
        rest,
        float((y[test] == kinds[counts.argmax()]).mean()),
        float(known.mean()),
    )


def predictions(
    fit: Callable[..., Any], x: Any, labels: Any, train: Any, test: Any, batched: bool
) -> np.ndarray:
    """Predicted labels `(..., labels, m)` of test rows by probes of `labels (labels, n)`."""
    if batched:
        wide = x[..., None, :, :] if x.ndim > 2 else x
        return np.asarray(fit(wide[..., train, :], labels[:, train]).predict(wide[..., test, :]))
    flat = x.reshape(-1, *x.shape[-2:])
    found = [[np.asarray(fit(one[train], each[train]).predict(one[test])) for each in labels] for one in flat]
    return np.stack([np.stack(row) for row in found]).reshape(*x.shape[:-2], len(labels), len(test))


def rows(which: Any, n: int, name: str) -> np.ndarray:
    """Indices of examples, from indices or a mask."""
    which = np.asarray(which)
    if which.dtype == bool and which.shape == (n,):
        which = np.flatnonzero(which)
    if which.ndim != 1 or not which.size or not np.issubdtype(which.dtype, np.integer):
        raise ValueError(
            f"{name} is indices of examples or a mask ({n},), not empty; got {which.dtype} of the "
            f"shape {which.shape}."
        )
    if which.min() < 0 or which.max() >= n:
        raise IndexError(f"{name} holds indices 0..{n - 1}; got {which.min()}..{which.max()}.")
    return which
