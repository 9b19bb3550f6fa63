"""Rows of activations and of weights: their norms, random directions, and vectors that meet them."""

import jax
import jax.numpy as jnp

from ...typing import JaxArray, KeyLike


def align(vector: JaxArray, x: JaxArray) -> JaxArray:
    """`vector` with leading axes of size 1, so that it has as many axes as `x` and meets its last ones."""
    return vector.reshape((1,) * (x.ndim - vector.ndim) + vector.shape)


def unit_norm(rows: JaxArray) -> JaxArray:
    """Rows over their norm. A row of zeros stays as it is."""
    norm = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / jnp.where(norm > 0, norm, 1)


def random_directions(key: KeyLike, features: int, d: int) -> JaxArray:
    """Random rows `(features, d)` of norm 1."""
    return unit_norm(jax.random.normal(key, (features, d), jnp.float32))


def squared_norm(error: JaxArray) -> JaxArray:
    """The squared norm of each row, in float32."""
    return jnp.sum(jnp.square(error.astype(jnp.float32)), -1)


def norm_scale(x: JaxArray | None, d: int) -> JaxArray:
    r"""$\sqrt d / \mathbb E \lVert x \rVert$, and 1 without a sample."""
    if x is None:
        return jnp.ones((), jnp.float32)
    mean = jnp.mean(jnp.linalg.norm(x.astype(jnp.float32), axis=-1))
    return d**0.5 / jnp.where(mean > 0, mean, 1.0)


def square_scale(x: JaxArray | None) -> JaxArray:
    r"""$1 / \sqrt{\mathbb E \lVert x \rVert^2}$: rows of mean squared norm 1. It is 1 without a sample."""
    if x is None:
        return jnp.ones((), jnp.float32)
    mean = jnp.mean(squared_norm(x))
    return jax.lax.rsqrt(jnp.where(mean > 0, mean, 1.0))
