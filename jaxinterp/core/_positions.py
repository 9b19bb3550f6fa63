r"""Positions of padded prompts: an integer $p$ is the $p$-th real token, wherever padding stands.

With a padding mask, an int or ints `(n,)` count the real tokens of each prompt: 0 is the first,
-1 the last. A padded prompt is therefore read and edited as it is alone. Masks, and ints per
example `(*batch, n)`, are columns of the padded array. Without a padding mask both are the same.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

POSITIONS = ("pos", "query", "key")
"The axes of positions: along these, shared ints count real tokens."


def ordinals(real: Bool[Array, "*batch pos"]) -> Int[Array, "*batch pos"]:
    """The number of each real token within its prompt, from 0; -1 at padding."""
    return jnp.where(real, jnp.cumsum(real, -1, dtype=jnp.int32) - 1, -1)


def counts_tokens(pos: Any, real: Any) -> bool:
    """Whether a selector counts real tokens: ints that padded prompts share."""
    return real is not None and pos.dtype != bool and pos.ndim <= 1


def matches(
    index: Int[Array, "*lead n"], number: Int[Array, "*batch size"], count: Any
) -> Bool[Array, "*lead n size"]:
    """Which entries have the numbers `index`; negative ones count back from `count`."""
    index = index.astype(jnp.int32)
    target = jnp.where(index < 0, index + count, index)
    target = jnp.where(target < 0, -2, target)  # padding has the number -1
    number = jnp.broadcast_to(number, (*index.shape[:-1], number.shape[-1]))
    return target[..., :, None] == number[..., None, :]


def _of_tokens(
    index: Any, real: Bool[Array, "*batch pos"], number: Int[Array, "*batch size"], columns: int | None
) -> Bool[Array, "*batch n size"]:
    """`matches` of shared ints that count the real tokens of each prompt."""
    index = jnp.broadcast_to(jnp.atleast_1d(index), (*real.shape[:-1], index.size))
    return matches(index, number, real[..., :columns].sum(-1, dtype=jnp.int32, keepdims=True))


def selected(
    index: Any,
    size: int,
    real: Bool[Array, "*batch pos"] | None = None,
    *,
    start: Any = 0,
    columns: int | None = None,
) -> Bool[Array, "*lead size"]:
    """Which of the entries `start..start + size` of an axis a selector names.

    - `index`: an int, ints `(n,)` or `(*batch, n)`, or a mask `(size,)` or `(*batch, size)`.
    - `real`: the padding mask; shared ints then count real tokens.
    - `columns`: the length from which negative ints count, by default `size`.

    **Returns:** `(size,)`, or `(*batch, size)` where examples differ.
    """
    index = jnp.asarray(index)
    here = jnp.arange(size, dtype=jnp.int32) + jnp.asarray(start, jnp.int32)
    if index.dtype == jnp.bool_:
        return jnp.take(index, here, axis=-1, mode="fill", fill_value=False)
    if real is not None and counts_tokens(index, real):
        number = lax.dynamic_slice_in_dim(ordinals(real), start, size, real.ndim - 1)
        return _of_tokens(index, real, number, columns).any(-2)
    return matches(jnp.atleast_1d(index), here, size if columns is None else columns).any(-2)


def spread(hit: Bool[Array, "*batch size"], axis: int, ndim: int) -> Bool[Array, "..."]:
    """A selection along an axis (counted from the last) of an array with `ndim` axes, batch axes first."""
    *batch, size = hit.shape
    between = ndim + axis - len(batch)
    return hit.reshape(*batch, *(1,) * between, size, *(1,) * (-axis - 1))


def columns(
    pos: Int[Array, "*n"], size: int, real: Bool[Array, "*batch pos"] | None = None
) -> Int[Array, "*rest"]:
    """Columns of positions, counted from 0; `(*batch, n)` where `pos` counts tokens.

    A position outside, or a token that a prompt does not have, gives `size`, where there is no column.
    """
    pos = jnp.asarray(pos)
    if real is None or not counts_tokens(pos, real):
        # A traced position below `-size` would count from the end a second time.
        return jnp.where(pos < -size, size, jnp.where(pos < 0, pos + size, pos))
    hit = _of_tokens(pos, real, ordinals(real), None)
    return jnp.where(hit.any(-1), hit.argmax(-1).astype(jnp.int32), size)


def take_positions(
    x: Float[Array, "..."] | Any, pos: Any, axis: int, real: Bool[Array, "*batch pos"] | None = None
) -> Array:
    """`x` at positions: a scalar drops the axis, `(n,)` is shared, `(*batch, n)` is per example.

    With `real`, a scalar and `(n,)` count the real tokens of each prompt.
    """
    pos = jnp.asarray(pos)
    at = columns(pos, x.shape[axis], real)
    if at.ndim <= 1 and at.ndim == pos.ndim:
        return jnp.take(x, at, axis=axis)
    index = at.reshape(at.shape + (1,) * (x.ndim - axis - 1))
    index = jnp.broadcast_to(index, (*x.shape[:axis], at.shape[-1], *x.shape[axis + 1 :]))
    taken = jnp.take_along_axis(x, index, axis)
    return taken if pos.ndim else taken.squeeze(axis)
