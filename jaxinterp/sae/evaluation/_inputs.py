"""Rows, labels and probes of the evaluation suite, checked once and in the same words."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ..._arguments import as_number
from ..._deprecations import respelled
from ..._random import host_generator
from ...fit import Now, descend
from ...stats import regression
from ...typing import ArrayLike, DictionaryLike, KeyLike, MaskLike
from ..kinds._dictionary import Dictionary

Fit = Callable[[Any, Any], tuple[Any, Any]]


def rows_of(decoder: DictionaryLike | ArrayLike) -> np.ndarray:
    """Decoder rows in the units of the site `(features, d)`, of a dictionary or of an array."""
    if isinstance(decoder, Dictionary):
        decoder = decoder.fold().decoder
    elif hasattr(decoder, "encode"):
        raise ValueError(
            f"A {type(decoder).__name__} has no fixed directions in the units of its inputs: give "
            "normalised rows as x, and the rows of its inner decoder."
        )
    decoder = np.asarray(decoder, np.float32)
    if decoder.ndim != 2:
        raise ValueError(f"A decoder is (features, d), or a dictionary; got {decoder.shape}.")
    return decoder


def as_matrix(name: str, x: ArrayLike, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """Finite `(rows, columns)` in float32."""
    x = np.asarray(x, np.float32)
    if (
        x.ndim != 2
        or len(x) != (len(x) if rows is None else rows)
        or x.shape[1] != (x.shape[1] if columns is None else columns)
    ):
        wanted = f"({'rows' if rows is None else rows}, {'columns' if columns is None else columns})"
        raise ValueError(f"{name} is {wanted}, a row per example; got the shape {x.shape}.")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinity: no score can be computed from it.")
    return x


def as_flags(name: str, y: ArrayLike, rows: int) -> np.ndarray:
    """Labels of one attribute `(rows,)`, true and false both among them."""
    y = np.asarray(y)
    if y.shape != (rows,) or not np.isin(y, (0, 1)).all() or y.min() == y.max():
        raise ValueError(
            f"{name} is ({rows},) of False and True, both of them; got {y.dtype}{list(y.shape)} "
            f"with the values {np.unique(y)[:5].tolist()}."
        )
    return y.astype(bool)


def as_classes(name: str, y: ArrayLike, rows: int) -> tuple[list[Any], np.ndarray]:
    """Names of classes, and which rows are of each `(rows, classes)`."""
    y = np.asarray(y)
    if y.ndim == 2 and len(y) == rows and np.isin(y, (0, 1)).all():
        return list(range(y.shape[1])), y.astype(bool)
    if y.shape != (rows,):
        raise ValueError(
            f"{name} is ({rows},), a class for each row, or ({rows}, classes) of False and True "
            f"where a row has several; got the shape {y.shape}."
        )
    names = np.unique(y)
    if len(names) < 2:
        raise ValueError(f"{name} needs rows of two classes or more; got only {names.tolist()}.")
    return names.tolist(), y[:, None] == names


def balanced(key: KeyLike, *groups: np.ndarray) -> np.ndarray:
    """Sorted row numbers, as many of each group of rows `(n,)` bool: as the smallest one has."""
    rng = host_generator(key, "(..., key={})")
    least = min(int(group.sum()) for group in groups)
    if not least:
        raise ValueError(
            "Every class (and for a confound every pair of labels) needs rows; got groups of "
            f"{[int(group.sum()) for group in groups]} rows."
        )
    drawn = [rng.permutation(np.flatnonzero(group))[:least] for group in groups]
    return np.sort(np.concatenate(drawn))


def accuracy(probe: tuple[Any, Any], x: np.ndarray, y: np.ndarray) -> float:
    """Share of rows on the right side of a probe (weights, bias)."""
    return float(np.mean((x @ np.asarray(probe[0], np.float32) + float(probe[1]) > 0) == y))


def logistic(x: ArrayLike, y: ArrayLike, penalty: float = 1.0) -> tuple[np.ndarray, float]:
    r"""$\min_{w, b} \sum_t \log(1 + e^{-s_t (x_t w + b)}) + \frac{c}{2} \lVert w \rVert^2$, $s = \pm 1$: weights and bias.

    Law: scikit-learn's `LogisticRegression` at C = 1/c finds the same.
    """
    found = regression(x, np.asarray(y, bool), gamma=1 / penalty)
    return found.weights, found.bias


def probe(
    x: ArrayLike,
    y: ArrayLike,
    *,
    epochs: int = 20,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    l1: float = 1e-3,
    key: KeyLike | None = None,
) -> tuple[np.ndarray, float]:
    r"""Weights and bias of $\mathrm{BCE}(x w + b, y) + 10^{-3} \lVert w \rVert_1$ after 20 epochs of Adam.

    These settings belong to the definition of TPP and SCR: they decide how much of a confound a probe
    takes up (https://github.com/adamkarvonen/SAEBench). So this is a training of a fixed length, and not
    one of the solvers of `ji.stats`, which find the optimum.
    """
    learning_rate = as_number(learning_rate, "learning_rate", 1e-12, 1e9)
    rows, labels = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    rng = host_generator(jax.random.key(0) if key is None else key, "probe(x, y, key={})")
    size = min(batch_size, len(rows))
    per = len(rows) // size
    order = [rng.permutation(len(rows))[: per * size].reshape(per, size) for _ in range(epochs)]
    batches = jnp.asarray(np.concatenate(order), jnp.int32)
    w, b = _descended(rows, labels, batches, jnp.float32(learning_rate), jnp.float32(l1))
    return np.asarray(w), float(b)


@eqx.filter_jit
def _descended(x: Array, y: Array, batches: Array, learning_rate: Array, l1: Array) -> tuple[Array, Array]:
    def loss(weights: tuple[Array, Array], rows: Array, now: Now) -> tuple[Array, dict[str, Array]]:
        w, b = weights
        score = jnp.matmul(x[rows], w, precision="highest") + b
        bce = optax.losses.sigmoid_binary_cross_entropy(score, y[rows])
        return jnp.mean(bce) + l1 * jnp.sum(jnp.abs(w)), {}

    start = jnp.zeros(x.shape[1], jnp.float32), jnp.zeros((), jnp.float32)
    state, _ = descend(start, batches, loss, optax.adam(learning_rate))
    return state.params


@respelled(batch="batch_size=")
def pooled(
    sae: DictionaryLike, x: ArrayLike, mask: MaskLike | None = None, *, batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    r"""$\bar x = \frac1T \sum_t x_t$, $\bar f = \frac1T \sum_t f(x_t)$: a row per document.

    **Arguments:**

    - `sae`: a dictionary.
    - `x (documents, pos, d)`: activations.
    - `mask (documents, pos)`: True at real tokens. Default: all positions.
    - `batch_size`: documents in one pass. Default 16.

    **Returns:** means of activations `(documents, d)` and of latent values `(documents, features)`.

    **Raises:** ValueError for other shapes and for a document without a position that counts.

    ```python
    x_train, f_train = ji.sae.pooled(sae, acts["resid_post[2]"], mask)
    ```

    Law: where a feature is subtracted at every position, $\bar x$ loses $\bar f_i d_i$.
    """
    x = np.asarray(x)
    mask = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    if x.ndim != 3 or mask.shape != x.shape[:2] or not mask.any(-1).all():
        raise ValueError(
            "pooled takes activations (documents, pos, d) and a mask (documents, pos) with a "
            f"position in every document; got {x.shape} and {mask.shape}."
        )
    means, found = [], []
    for start in range(0, len(x), batch_size):
        part, here = x[start : start + batch_size], mask[start : start + batch_size]
        short = batch_size - len(part)
        part = np.concatenate([part, np.zeros((short, *part.shape[1:]), part.dtype)])
        here = np.concatenate([here, np.ones((short, here.shape[1]), bool)])
        mean, f = _pool(sae, jnp.asarray(part), jnp.asarray(here))
        means.append(np.asarray(mean)[: batch_size - short])
        found.append(np.asarray(f)[: batch_size - short])
    return np.concatenate(means), np.concatenate(found)


@eqx.filter_jit
def _pool(sae: Any, x: Any, mask: Any) -> tuple[Any, Any]:
    weight = mask[..., None].astype(jnp.float32)
    count = jnp.sum(weight, 1)
    mean = lambda v: jnp.sum(v.astype(jnp.float32) * weight, 1) / count
    return mean(x), mean(sae.encode(x))
