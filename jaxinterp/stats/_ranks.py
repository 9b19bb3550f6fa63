"""Ranks with equal values at their mean: what Spearman's correlation compares."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def places(order: Float[Array, " n"], values: Float[Array, " m"]) -> Float[Array, " m"]:
    r"""$\#\{s < v\} + \frac12 \#\{s = v\}$ of sorted numbers s: how many are below each value, equal ones by half."""
    below, up_to = (jnp.searchsorted(order, values, side=side) for side in ("left", "right"))
    # The sum is exact in float32 up to 2**23 numbers; of values of another dtype it has theirs.
    return (below + up_to).astype(values.dtype) / 2


def ranks(values: Float[Array, "*r n"]) -> Float[Array, "*r n"]:
    """Ranks from 1 along the last axis; equal values have the mean of theirs."""
    if values.ndim > 1:
        return jax.vmap(ranks)(values)
    return places(jnp.sort(values), values) + 0.5
