"""Train and test without a document in both."""

from typing import Any

import numpy as np

from .._random import host_generator
from ..core._check import as_number, as_selector, check_selector
from ..typing import ArrayLike, FloatLike, KeyLike


class Leak(ValueError):
    """The error for a group (a document) that is in train and in test.

    ```python
    try:
        ji.data.check_split([0, 0, 1], train=[0, 2], test=[1])
    except ji.data.Leak as error:
        print(error)  # names the group
    ```
    """


def split(
    groups: ArrayLike, *, key: KeyLike, test: FloatLike = 0.3, labels: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""$\{g\} = G_{\text{train}} \sqcup G_{\text{test}}$: divides rows by whole groups, at random.

    **Arguments:**

    - `groups`: the group of each row `(row,)`: `corpus.groups`, or for tokens `corpus.groups[index // ctx]`. All
      rows of a group are on one side.
    - `key`: a `jax.random.key`.
    - `test`: the share of rows in test, as near as whole groups allow; 0.3 by default.
    - `labels`: classes `(row,)`; none by default. With labels the groups are divided for each class, so both sides
      have every class.

    **Returns:** row numbers of train and of test, ascending. Neither is empty.

    **Raises:** `ValueError` for fewer than two groups, or a class that cannot be on both sides
    because only one group has it.

    ```python
    train, test = ji.data.split(corpus.groups, test=0.3, key=jax.random.key(0), labels=corpus.labels == "de")
    ```

    Law: no group is on both sides, and every row is on one side.
    """
    groups = np.asarray(groups)
    test = as_number(test, "test", 0, 1)
    if groups.ndim != 1 or not 0 < test < 1:
        raise ValueError(f"split takes groups (row,) and 0 < test < 1; got {groups.shape}, test={test}.")
    try:
        names, group = np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"Groups are names of one type, so that they can be compared: {error}.") from error
    if len(names) < 2:
        raise ValueError(
            f"A split parts whole groups, and there is {len(names)}: no row can be held out. Give "
            "more documents, or name the groups differently."
        )
    kinds = np.zeros(len(groups), np.int64)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != groups.shape:
            raise ValueError(f"labels has one entry for each row {groups.shape}; got {labels.shape}.")
        _, kinds = np.unique(labels.astype(str), return_inverse=True)
    count = np.zeros((len(names), kinds.max() + 1), np.int64)  # rows of each class in each group
    np.add.at(count, (group, kinds), 1)
    for kind in range(count.shape[1]):
        if (count[:, kind] > 0).sum() < 2:
            raise ValueError(
                "A class that only one group has cannot be in train and in test: "
                f"{labels[kinds == kind].tolist()[0]!r} is in group {names.tolist()[count[:, kind].argmax()]!r} alone."  # type: ignore[index]
            )
    rng = host_generator(key, "ji.data.split(..., key={})")
    order = rng.permutation(len(names))
    side = np.full(len(names), -1)  # 1 for test
    wanted, total = count.sum(0) * test, count.sum(0)
    have = np.zeros(count.shape[1])
    # The rarest class first, so that it still has a choice of groups.
    for kind in np.argsort((count > 0).sum(0), kind="stable"):
        mine = [g for g in order if count[g, kind] and side[g] < 0]
        here = [g for g in range(len(names)) if count[g, kind] and side[g] >= 0]
        for g in mine:
            missing = wanted[kind] - have[kind]
            to_test = count[g, kind] <= 2 * missing if missing > 0 else False
            if g == mine[-1] and len(both := {int(side[h]) for h in here}) == 1:
                to_test = both == {0}
            side[g] = int(to_test)
            have += count[g] * to_test
            here.append(g)
    chosen = side[group] == 1
    train, tested = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    for kind in range(count.shape[1]):
        if not (0 < count[side == 1, kind].sum() < total[kind]):
            raise ValueError(
                "The groups could not be shared out so that every class is on both sides: groups "
                "hold several classes at once. Try another key, or split without labels."
            )
    return train, tested


def check_split(groups: Any, train: Any, test: Any) -> None:
    r"""$G_{\text{train}} \cap G_{\text{test}} = \emptyset$, or `Leak`, which names a group.

    **Arguments:**

    - `groups`: the group of each row `(row,)`.
    - `train`, `test`: row numbers, or masks `(row,)`.

    ```python
    train, test = ji.data.split(corpus.groups, key=jax.random.key(0))
    ji.data.check_split(corpus.groups, train, test)     # no error
    ```
    """
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"groups name the document of each row, (row,); got the shape {groups.shape}.")
    rows = {"train": as_selector(train, "train"), "test": as_selector(test, "test")}
    for name, part in rows.items():
        if part.ndim != 1:
            raise ValueError(f"{name} is row numbers, or a mask (row,); got the shape {part.shape}.")
        check_selector("row", part, len(groups), (), name)
    both = np.intersect1d(groups[np.asarray(rows["train"])], groups[np.asarray(rows["test"])])
    if len(both):
        raise Leak(
            f"{len(both)} groups are in train and in test (the first is {both.tolist()[0]!r}): a probe could "
            "know the document instead of the feature. Use ji.data.split(groups)."
        )
