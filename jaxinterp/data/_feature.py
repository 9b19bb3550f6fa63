"""Feature datasets: which tokens or sequences, and their labels, balanced."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._deprecations import respelled
from .._random import host_generator
from ..core._check import shown
from ..typing import ArrayLike, KeyLike


class TooFew(ValueError):
    """The error for a feature with fewer positive (or negative) examples than the floor.

    ```python
    try:
        ji.data.sample(labels, n=10_000, key=jax.random.key(0))
    except ji.data.TooFew as error:
        print(error)  # how many there are, and how many the floor needs
    ```
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Feature:
    """A sample of positive and negative rows, made by `ji.data.sample`.

    - `index` `(row,)`: the rows, ascending: `seq * ctx + pos` for tokens, the number of a sequence otherwise.
    - `labels` `(row,)`: True at the positive rows.

    ```python
    feature = ji.data.sample(labels, n=40, key=jax.random.key(0), name="digit")
    feature.index, feature.labels.mean()
    ```
    """

    name: str
    index: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Feature({self.name!r}: {len(self)} rows, {int(self.labels.sum())} positive)"


def sample(
    positive: ArrayLike,
    negative: ArrayLike | None = None,
    *,
    n: int,
    key: KeyLike,
    share: float | None = None,
    floor: float = 0.05,
    mirror: ArrayLike | None = None,
    name: str = "feature",
) -> Feature:
    r"""$n_+ = \min(s\,n, N_+),\ n_- = \min(n - n_+, N_-)$: draws positive and negative rows without replacement.

    **Arguments:**

    - `positive`: bools `(seq, pos)` or `(seq,)`, True at positive rows.
    - `negative`: bools of the same shape, True at rows that may be negatives, such as tokens that count and are not
      positive; by default all rows that are not positive.
    - `n`: the number of rows.
    - `share`: the share of positives; None takes their natural share, but at least 0.2 and at most 0.5.
    - `floor`: fewer than `floor * n` positives, or no negative, raise `TooFew`.
    - `mirror`: bools; half of the negatives are drawn from these rows, or as many as there are (such as numerators
      for a feature of denominators).
    - `key`: a `jax.random.key`.

    **Returns:** a `Feature`; `labels.mean()` is its share.

    Appendix B of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    ```python
    feature = ji.data.sample(labels, corpus.positions & ~labels, n=40, key=jax.random.key(0))
    x = ji.data.activations(model, corpus, "mlp_post", index=feature.index)
    ```

    Law: every row is one of the given positives or negatives, and none comes twice; equal keys draw equal
    rows.
    """
    rng = host_generator(key, "ji.data.sample(..., key={})")
    return _drawn(positive, negative, n, rng, share, floor, mirror, name)


def _drawn(
    positive: Any,
    negative: Any,
    n: int,
    rng: np.random.Generator,
    share: float | None = None,
    floor: float = 0.05,
    mirror: Any = None,
    name: str = "feature",
) -> Feature:
    """`sample`, drawn by a generator."""
    positive = _bools(positive, None, "positive")
    shape = positive.shape
    negative = ~positive if negative is None else _bools(negative, shape, "negative")
    if (positive & negative).any():
        raise ValueError(f"{name}: some rows are positive and negative at once; negative & ~positive.")
    if n < 2 or (share is not None and not 0 < share < 1) or not 0 <= floor <= 1:
        raise ValueError(
            f"A sample has n >= 2 rows, 0 < share < 1 and a floor in 0..1; got n={n}, "
            f"share={share}, floor={floor}."
        )
    yes, no = np.flatnonzero(positive), np.flatnonzero(negative)
    if share is None:
        share = min(max(len(yes) / max(len(yes) + len(no), 1), 0.2), 0.5)
    if len(yes) < max(floor * n, 1) or not len(no):
        raise TooFew(
            f"{name}: {len(yes)} positives and {len(no)} negatives for n={n}; at least "
            f"{max(int(np.ceil(floor * n)), 1)} positives and one negative are needed (floor={floor})."
            " Give more text, or a smaller n."
        )
    chosen = rng.choice(yes, min(max(round(share * n), 1), len(yes)), replace=False)
    wanted = min(n - len(chosen), len(no))
    near = np.zeros(0, np.int64)
    if mirror is not None:
        close = np.flatnonzero(_bools(mirror, shape, "mirror") & negative)
        near = rng.choice(close, min(wanted // 2, len(close)), replace=False)
    rest = np.setdiff1d(no, near)
    far = rng.choice(rest, min(wanted - len(near), len(rest)), replace=False)
    index = np.concatenate([chosen, near, far])
    labels = np.arange(len(index)) < len(chosen)
    order = np.argsort(index)
    return Feature(name, index[order], labels[order])


@respelled(mask="positions=")
def samples(
    labels: Mapping[str, Any], positions: ArrayLike, *, n: int, key: KeyLike, **options: Any
) -> tuple[dict[str, Feature], dict[str, str]]:
    """Calls `ji.data.sample` for many labels: the features, and the reasons why others were left out.

    **Arguments:**

    - `labels`: bools by name.
    - `positions`: bools, True where a row counts.
    - `n`, `key`: as in `sample`. Each feature has its own random numbers, so it does not change when
      another feature is added.
    - `options`: further arguments of `sample`.

    **Returns:** `{name: Feature}`, and `{name: reason}` for the labels with fewer examples than the floor.

    ```python
    every = {"third": labels, "never": labels & ~labels}
    features, skipped = ji.data.samples(every, corpus.positions, n=40, key=jax.random.key(0))
    list(features), skipped["never"]
    ```
    """
    where = _bools(positions, None, "positions")
    root = [int(i) for i in host_generator(key, "ji.data.samples(..., key={})").integers(2**32, size=4)]
    made, skipped = {}, {}
    for name, label in labels.items():
        label = _bools(label, where.shape, name)
        own = np.random.default_rng([*root, *name.encode()])
        try:
            made[name] = _drawn(label & where, where & ~label, n, own, name=name, **options)
        except TooFew as reason:
            skipped[name] = str(reason)
    return made, skipped


def union(features: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    r"""$I = \bigcup_f I_f$: every row once, however many features share it.

    **Returns:** the index `(row,)`, ascending, and for each feature its rows in it, so that
    `x[..., rows[name], :]` are the activations of `features[name].index`.

    ```python
    index, rows = ji.data.union(features)
    x = ji.data.activations(model, corpus, "mlp_post[1]", index=index)
    x[rows["digit"]], features["digit"].labels
    ```
    """
    if not isinstance(features, Mapping) or not all(isinstance(f, Feature) for f in features.values()):
        raise ValueError(
            f"union takes features by name, such as ji.data.samples gives: {{'digit': feature}}; got {shown(features)}."
        )
    if not features:
        raise ValueError("There are no features: were all of them below the floor?")
    index = np.unique(np.concatenate([f.index for f in features.values()]))
    return index, {name: np.searchsorted(index, f.index) for name, f in features.items()}


def _bools(x: Any, shape: Any, name: str) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype != bool or (shape is not None and x.shape != shape):
        raise ValueError(
            f"{name} is an array of bools{f' {shape}' if shape else ''}; got {x.shape} of {x.dtype}."
        )
    return x
