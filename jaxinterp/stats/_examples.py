"""Probing data, checked before anything is fitted: activations, labels and how much each counts."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_numbers
from ..typing import ArrayLike, IndexLike

Loss = Literal["logistic", "hinge", "squared"]
LOSSES = ("logistic", "hinge", "squared")


def as_shaped(x: ArrayLike, *, layers: bool = False) -> jax.Array | np.ndarray:
    """Activations `(n, d)`, with `layers` also `(..., n, d)`, on their device: nothing is read yet."""
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.dtype == object or jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"x holds real activations; got dtype {x.dtype}.")
    if x.ndim < 2 or (x.ndim > 2 and not layers):
        axes = "(..., n, d): examples, then features" if layers else "(n, d): one row per example"
        more = "" if layers else " For many layers call it per layer: x[layer]."
        raise ValueError(f"x has the axes {axes}; got the shape {x.shape}.{more}")
    if 0 in x.shape:
        raise ValueError(f"A probe needs examples and features; got x of the shape {x.shape}.")
    return x


def as_examples(x: ArrayLike, *, layers: bool = False) -> np.ndarray:
    """Activations `(n, d)`, with `layers` also `(..., n, d)`, as finite floats on the host."""
    x = np.asarray(as_shaped(x, layers=layers))
    x = x.astype(np.float64 if x.dtype in (np.float64, np.int64) else np.float32, copy=False)
    with np.errstate(all="ignore"):
        suspect = not np.isfinite(x.sum())  # one read and no second array, where all is well
    if suspect and not np.isfinite(x).all():
        bad = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(
            f"Activations are finite; x{[int(i) for i in bad]} is {x[tuple(bad)]}. Were they read "
            "at padding, or did float16 overflow? Drop such rows, or capture in float32."
        )
    return x


def as_real(y: ArrayLike, n: int, what: str = "y") -> np.ndarray:
    """Real numbers `(n,)`, finite, one per example; `what` is the name of the argument."""
    y = np.asarray(as_numbers(y, what))
    _one_each(y, n, what)
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        name = "Targets" if what == "y" else f"The numbers of {what}"
        raise ValueError(
            f"{name} are finite; {what}[{int(np.argmin(np.isfinite(y)))}] is not. Drop such "
            f"examples: keep = np.isfinite({what}); {what}[keep], and all else of the examples in the same way."
        )
    return y


def as_labels(y: ArrayLike, n: int) -> np.ndarray:
    """Labels in {0, 1}, {-1, 1} or bools `(n,)` as the signs -1.0 and 1.0, both present."""
    y = np.asarray(y)
    _one_each(y, n)
    values = set(np.unique(y).tolist())
    if not (values <= {0, 1} or values <= {-1, 1}):
        few = sorted(values)[:4]
        raise ValueError(
            f"Labels are 0 or 1, -1 or 1, or bools; got {few}{'...' if len(values) > 4 else ''}. "
            "One class against the rest: y == 3. For real targets: loss='squared'."
        )
    if len(values) < 2:
        raise ValueError(
            f"A probe needs two classes; each of the {n} labels is {values.pop()}. "
            "Use data.split with labels=, which puts both classes on each side."
        )
    return np.where(y > 0, 1.0, -1.0)


def _one_each(y: np.ndarray, n: int, what: str = "y") -> None:
    if y.shape != (n,):
        raise ValueError(
            f"There is one label per example, or one number: of n={n} examples (rows of x, or the last axis of "
            f"scores), {what} has the shape {y.shape}. Labels per token go with activations per token: "
            f"{what}.reshape(-1)."
        )


def example_weights(
    y: np.ndarray, balanced: bool, weights: ArrayLike | None = None, what: str = "weights"
) -> np.ndarray:
    """How much each example counts, $\\omega_i = n / (2 n_{y_i})$ when balanced, times `weights`."""
    omega = np.ones(len(y))
    if weights is not None:
        omega = np.asarray(weights, np.float64)
        if omega.shape != y.shape or not np.isfinite(omega).all() or not (omega > 0).all():
            raise ValueError(f"{what} are positive numbers, one per example: {y.shape}.")
    if balanced:
        for sign in (-1.0, 1.0):
            side = y == sign
            omega = np.where(side, omega * len(y) / (2 * omega[side].sum()), omega)
    return omega


def check_k(k: Any, d: int, n: int) -> int:
    """A number of features: 1..d, and no more than there are examples."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= d:
        raise ValueError(f"k is the number of features to choose, 1..{d} (d={d}); got {k!r}.")
    if k > n:
        raise ValueError(
            f"There are fewer examples (n={n}) than features to choose (k={k}); any labels would "
            "be fitted. Gather more examples, or choose fewer."
        )
    return int(k)


def check_loss(loss: Any) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss is one of {', '.join(map(repr, LOSSES))}; got {loss!r}.")


def as_support(support: IndexLike | None, d: int) -> np.ndarray:
    """Columns of x as sorted distinct ints; None is all of them."""
    if support is None:
        return np.arange(d)
    support = np.asarray(support)
    if support.dtype == bool and support.shape == (d,):
        support = np.flatnonzero(support)
    if support.ndim != 1 or not np.issubdtype(support.dtype, np.integer) or not support.size:
        raise ValueError(
            f"support is a list of columns of x, ints in 0..{d - 1}, or a mask ({d},); got "
            f"{support.dtype} of the shape {support.shape}."
        )
    if support.min() < 0 or support.max() >= d or len(np.unique(support)) < len(support):
        raise IndexError(f"support holds distinct columns 0..{d - 1} of x; got {support.tolist()}.")
    return np.sort(support)
