r"""Positions of padded prompts: an integer $p$ is the $p$-th real token, wherever padding puts it.

With a padding mask, an int or ints `(n,)` count the real tokens of each prompt (0 is its first, -1
its last), so that a padded prompt is read and edited as it is alone. Masks, and ints per example
`(*batch, n)`, name columns of the padded array. Without a mask both are the same.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def ordinals(real: Bool[Array, "*batch pos"]) -> Int[Array, "*batch pos"]:
    """The number of each real token within its prompt, from 0; -1 at padding."""
    return jnp.where(real, jnp.cumsum(real, -1, dtype=jnp.int32) - 1, -1)


def counts_tokens(pos: Any, real: Any) -> bool:
    """Whether a selector counts real tokens: ints that are shared by padded prompts."""
    return real is not None and pos.dtype != bool and pos.ndim <= 1


def numbered(
    pos: Int[Array, "*n"], number: Int[Array, "*batch pos"], count: Int[Array, "*batch"]
) -> Bool[Array, "*batch n pos"]:
    """Which entries hold the tokens of these numbers; negative ones count from `count`."""
    pos = jnp.atleast_1d(pos).astype(jnp.int32)
    pos = jnp.broadcast_to(pos, (*count.shape, *pos.shape))
    wanted = jnp.where(pos < 0, pos + count[..., None], pos)
    wanted = jnp.where(wanted < 0, -2, wanted)  # padding has the number -1
    grid = jnp.broadcast_to(number[..., None, :], (*wanted.shape, number.shape[-1]))
    return grid == jnp.broadcast_to(wanted[..., None], grid.shape)


def columns(
    pos: Int[Array, "*n"], size: int, real: Bool[Array, "*batch pos"] | None = None
) -> Int[Array, "*rest"]:
    """Columns of positions, counted from 0; `(*batch, n)` where `pos` counts tokens.

    What lies outside, or a token that a prompt does not have, is at column `size`, where there is none.
    """
    pos = jnp.asarray(pos)
    if real is None or not counts_tokens(pos, real):
        # A traced position below `-size` would count from the end a second time.
        return jnp.where(pos < -size, size, jnp.where(pos < 0, pos + size, pos))
    hit = numbered(pos, ordinals(real), real.sum(-1, dtype=jnp.int32))
    return jnp.where(hit.any(-1), hit.argmax(-1).astype(jnp.int32), size)


def take_positions(
    x: Float[Array, "..."] | Any, pos: Any, axis: int, real: Bool[Array, "*batch pos"] | None = None
) -> Array:
    """`x` at positions: a scalar drops the axis, `(n,)` is shared, `(*batch, n)` is per example.

    With `real`, a scalar and `(n,)` count real tokens of each prompt.
    """
    pos = jnp.asarray(pos)
    at = columns(pos, x.shape[axis], real)
    if at.ndim <= 1 and at.ndim == pos.ndim:
        return jnp.take(x, at, axis=axis)
    index = at.reshape(at.shape + (1,) * (x.ndim - axis - 1))
    index = jnp.broadcast_to(index, (*x.shape[:axis], at.shape[-1], *x.shape[axis + 1 :]))
    taken = jnp.take_along_axis(x, index, axis)
    return taken if pos.ndim else taken.squeeze(axis)
