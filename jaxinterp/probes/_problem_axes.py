"""Many problems in one program: leading axes that broadcast, and labels as numbers of classes."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..stats._examples import as_examples
from ..typing import ArrayLike, PyTree


def map_problems(fn: Callable[..., PyTree], args: tuple[Any, ...], cores: tuple[int, ...]) -> PyTree:
    """`fn` over the broadcast leading axes of `args`, each with `cores[i]` axes that do not broadcast.

    An axis of size 1 is never copied: activations that many label vectors share stay one array,
    and their products become one wide matrix product.
    """
    leads = [() if a is None else a.shape[: a.ndim - core] for a, core in zip(args, cores)]
    lead = np.broadcast_shapes(*leads)
    padded = [(1,) * (len(lead) - len(own)) + own for own in leads]
    reduced = [
        None if a is None else a.reshape(*(size for size in own if size > 1), *a.shape[a.ndim - core :])
        for a, own, core in zip(args, padded, cores, strict=True)
    ]
    for axis in reversed(range(len(lead))):
        if lead[axis] > 1:
            fn = jax.vmap(fn, in_axes=tuple(0 if own[axis] > 1 else None for own in padded))
    out = fn(*reduced)
    count = sum(size > 1 for size in lead)
    return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[count:]), out)


def leading_axes(x: np.ndarray, y: np.ndarray, core: int = 1, *more: tuple[int, ...]) -> tuple[int, ...]:
    """The problems that x `(..., n, d)` and y `(..., n, *)` make together; an error says why not."""
    n = x.shape[-2]
    if y.ndim < core or y.shape[y.ndim - core] != n:
        axes = "(..., n)" if core == 1 else "(..., n, targets)"
        raise ValueError(
            f"There is one label per example: x has n={n} rows (its axis -2), and y has the axes "
            f"{axes}; got the shape {y.shape}. Labels per token go with activations per token: "
            "y.reshape(-1)."
        )
    leads = (x.shape[:-2], y.shape[: y.ndim - core], *more)
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        raise ValueError(
            f"The axes before the examples broadcast: x has {leads[0]}, y {leads[1]}"
            f"{', and more ' + str(list(more)) if more else ''}. Every layer of x (layer, n, d) with "
            "every row of y (labels, n): x[:, None]."
        ) from None


def as_classes(y: ArrayLike, classes: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any kind as numbers `(..., n)` int32, and the class that each number stands for."""
    y = np.asarray(y)
    if y.dtype.kind not in "biuUS" and not (y.dtype.kind == "f" and (y == np.round(y)).all()):
        raise ValueError(
            f"Labels are ints, bools or strings; got {y.dtype}. For real targets: loss='squared'."
        )
    if not y.size:
        raise ValueError(f"A probe needs examples; got labels of the shape {y.shape}.")
    kinds = np.unique(y if classes is None else np.asarray(classes))
    which = np.minimum(np.searchsorted(kinds, y), len(kinds) - 1).astype(np.int32)
    if (kinds[which] != y).any():
        raise ValueError(
            f"Every label is one of classes={kinds.tolist()[:8]}; got "
            f"{y[kinds[which] != y].ravel()[0]!r} too."
        )
    return which, kinds


def check_two_classes(kinds: np.ndarray, n: int) -> None:
    if len(kinds) < 2:
        raise ValueError(
            f"A probe needs two classes; each of the {n} labels is {kinds[0]}. "
            "Use data.split with labels=, which puts both classes on each side."
        )


def example_counts(weights: ArrayLike | None, shape: tuple[int, ...], n: int) -> np.ndarray:
    """How much each example counts `(..., n)`: 1 by default, 0 leaves one out."""
    if weights is None:
        return np.ones(n, np.float32)
    weights = np.asarray(weights, np.float32)
    if (
        not weights.ndim
        or weights.shape[-1] != n
        or not np.isfinite(weights).all()
        or (weights < 0).any()
        or not (weights.sum(-1) > 0).all()
    ):
        raise ValueError(
            f"weights (..., n={n}) say how much each example counts: 0 or more, not all 0; got the "
            f"shape {weights.shape}."
        )
    np.broadcast_shapes(weights.shape[:-1], shape)
    return weights


def as_rows(x: ArrayLike, d: int) -> np.ndarray:
    """Examples to score, `(..., m, d)`."""
    x = as_examples(x, layers=True).astype(np.float32)
    if x.shape[-1] != d:
        raise ValueError(f"This probe reads d={d} features, the last axis of x; got the shape {x.shape}.")
    return x


class ClassScores:
    """What each probe of classes computes from its `logits` and its `classes`."""

    classes: Any

    @abstractmethod
    def logits(self, x: ArrayLike) -> np.ndarray:
        """Logits `(..., m, c)` of x `(..., m, d)`."""

    def log_probs(self, x: ArrayLike) -> np.ndarray:
        """$\\log p(c \\mid x)$ in nats, `(..., m, c)`."""
        z = self.logits(x).astype(np.float64)
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    def decision(self, x: ArrayLike) -> np.ndarray:
        """Two classes: log odds of the second, `(..., m)`; more: the logits `(..., m, c)`."""
        z = self.logits(x)
        return z[..., 1] - z[..., 0] if z.shape[-1] == 2 else z

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The likeliest class of each example, `(..., m)`, as the labels were; of equal ones the first."""
        return self.classes[self.logits(x).argmax(-1)]


def one_hot(y: ArrayLike, count: int) -> jax.Array:
    """Classes `(n,)` as rows `(n, count)` of zeros with a one."""
    return jax.nn.one_hot(y, count, dtype=jnp.float32)
