"""Probes of pairs."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._deprecations import respelled
from ...stats._examples import as_examples
from ...typing import ArrayLike, IntLike, KeyLike, OptimizerLike
from .._problem_axes import ClassScores
from ._mlp import fitted
from ._settings import OPTIONS, TrainSettingsLike
from ._training import as_history


class Bilinear(ClassScores, eqx.Module):
    """Probes of pairs `(...,)`, made by `bilinear`.

    - `left`, `right`: `(..., d, c, r)`.
    - `bias`: `(..., c)`.
    - The other fields are those of `MLP`.

    ```python
    pairs = np.stack([x[:-1], x[1:]], -2)
    probe = ji.probes.bilinear(pairs, (y[:-1] == y[1:]).astype(int), 4, key=jax.random.key(0))
    probe.logits(pairs).shape
    ```
    """

    left: np.ndarray
    right: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    loss: np.ndarray
    dev_loss: np.ndarray
    epochs: np.ndarray
    steps: np.ndarray
    best_epoch: np.ndarray
    stopped: np.ndarray

    def logits(self, x: ArrayLike) -> np.ndarray:
        """Logits `(..., m, c)` of pairs x `(..., m, 2, d)`."""
        x = np.asarray(x, np.float32)
        d = self.left.shape[-3]
        if x.ndim < 3 or x.shape[-2:] != (2, d):
            raise ValueError(f"Pairs have the axes (..., m, 2, d={d}); got the shape {x.shape}.")
        x = x.reshape(*x.shape[:-2], 2 * d)
        x = (x - self.middle[..., None, :]) / self.spread[..., None, :]
        side = lambda x, w: np.einsum("...md,...dcr->...mcr", x, w)
        both = side(x[..., :d], self.left) * side(x[..., d:], self.right)
        return both.sum(-1) + self.bias[..., None, :]


@respelled(**OPTIONS, seed="key=jax.random.key(0)")
def bilinear(
    x: ArrayLike,
    y: ArrayLike,
    rank: IntLike = 32,
    *,
    key: KeyLike,
    optimizer: OptimizerLike | None = None,
    weights: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    settings: TrainSettingsLike | None = None,
) -> Bilinear:
    r"""$g_c(h_i, h_j) = h_i^\top L_c R_c^\top h_j + b_c$: a probe of pairs, such as head and dependent.

    **Arguments:**

    - `x`: pairs `(..., n, 2, d)`.
    - `y`: labels `(..., n)` of any kind.
    - `rank`: of each $L_c R_c^\top$; 32 by default.
    - `key`, `optimizer`, `weights`, `classes`, `settings`: as in `mlp`.

    **Returns:** `Bilinear`, whose `.logits`, `.predict`, `.decision` take pairs `(..., m, 2, d)`.

    **Raises:** as `mlp`.

    ```python
    pairs = np.stack([x[:-1], x[1:]], -2)              # neighbours
    same = (y[:-1] == y[1:]).astype(int)
    ji.probes.bilinear(pairs, same, 4, key=jax.random.key(0)).predict(pairs)
    ```

    Law: it tells pairs with a positive product from pairs with a negative one, which no linear probe of both can do.
    """
    x = np.asarray(x)
    if x.ndim < 3 or x.shape[-2] != 2:
        raise ValueError(f"Pairs have the axes (..., n, 2, d); got the shape {x.shape}.")
    if rank < 1:
        raise ValueError(f"rank is 1 or more; got {rank}.")
    x = as_examples(x.reshape(*x.shape[:-2], -1), layers=True).astype(np.float32)
    init = _init_pairs_of(int(rank))
    found, kinds = fitted(x, y, init, _forward_pairs, key, "logistic", optimizer, weights, classes, settings)
    left, right, bias = (np.asarray(a) for a in found.found.params)
    scaling = jax.tree.map(np.asarray, found.scaling)
    assert kinds is not None
    return Bilinear(left, right, bias, kinds, scaling.middle, scaling.spread, **as_history(found.found))


@functools.cache
def _init_pairs_of(rank: int) -> Any:
    def init(key: Any, both: int, out: int) -> Any:
        d = both // 2
        left, right = jax.random.normal(key, (2, d, out, rank), jnp.float32) * float((rank * d * d) ** -0.25)
        return left, right, jnp.zeros(out, jnp.float32)

    return init


def _forward_pairs(params: Any, x: Any, key: Any, dropout: float) -> Any:
    left, right, bias = params
    d = left.shape[0]
    side = lambda x, w: jnp.einsum("md,dcr->mcr", x, w)
    return (side(x[:, :d], left) * side(x[:, d:], right)).sum(-1) + bias[None]
