r"""Subspaces spanned by directions: their part in a vector, removed, with a gradient at every set."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def without_span(x: Array, directions: Array) -> Array:
    """`x` minus its part in the span of directions `(d,)` or `(..., n, d)`, in float32 at least."""
    wide = np.promote_types(x.dtype, np.float32)
    x, directions = x.astype(wide), directions.astype(wide)
    return _without(x, _orthonormal(directions if directions.ndim > 1 else directions[None]))


def _without(x: Array, basis: Array) -> Array:
    """`x` `(..., d)` minus its part in the span of orthonormal (or zero) rows `(..., n, d)`."""
    inner = jnp.einsum("...d,...nd->...n", x, basis, precision="highest")
    return x - jnp.einsum("...n,...nd->...d", inner, basis, precision="highest")


def _orthonormal(directions: Array) -> Array:
    """An orthonormal basis of the rows' span `(..., n, d)`: Gram and Schmidt, each row twice.

    A row that lies in the span of those before it becomes zero. Unlike a QR or singular value
    decomposition this has a gradient at every set, and is a handful of products.
    """
    count, d = directions.shape[-2:]
    least = max(count, d) * float(jnp.finfo(directions.dtype).eps)
    rows = jnp.moveaxis(_unit(with_largest_entry_one(directions)), -2, 0)
    if count == 1:
        return jnp.moveaxis(rows, 0, -2)

    def step(basis: Array, numbered: tuple[Array, Array]) -> tuple[Array, None]:
        number, row = numbered
        left = _without(_without(row, basis), basis)
        row = _unit(left, least)
        return jax.lax.dynamic_update_index_in_dim(basis, row, number, -2), None

    numbered = jnp.arange(count, dtype=jnp.int32), rows
    return jax.lax.scan(step, jnp.zeros_like(directions), numbered)[0]


def with_largest_entry_one(rows: Array) -> Array:
    """Directions whose largest entry is 1: squares of very small or large ones leave the range of floats."""
    largest = jax.lax.stop_gradient(jnp.abs(rows).max(-1, keepdims=True))
    return rows / jnp.where(largest == 0, 1, largest)


def _unit(rows: Array, least: float = 0.0) -> Array:
    """Rows of length 1; those no longer than `least` are zero."""
    squared = jnp.square(rows).sum(-1, keepdims=True)
    long = ~(squared <= least**2)  # NaN stays NaN
    return jnp.where(long, rows / jnp.sqrt(jnp.where(long, squared, 1)), 0)
