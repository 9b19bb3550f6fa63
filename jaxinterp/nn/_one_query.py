"""Attention of one query with heads side by side: the form of generation that suits a TPU.

A TPU keeps arrays in rows of 128 numbers, and a head of 64 would fill half of each. Here the keys of one
position are one row of all heads, and so is a query that is 0 outside its own head. Two products of whole
rows take the place of one small product for each head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._linear import accumulation_dtype, einsum, like

LANES = 128
"Numbers in a row of a TPU's memory."


def side_by_side(
    q: Float[Array, "*batch 1 head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    allowed: Bool[Array, "*#batch 1 key"] | None,
) -> Float[Array, "*batch 1 head k"]:
    """What `rows` of `_one_pass` gives for one query, up to rounding.

    **Arguments:**

    - `q`, `k`, `v`: the query with its scale in it, keys and values.
    - `allowed`: which keys are read; None for all.
    """
    *batch, keys, kv_heads, width = k.shape
    heads, wide = q.shape[-2], accumulation_dtype(q)
    own = jnp.repeat(jnp.eye(kv_heads, dtype=bool), heads // kv_heads, axis=0)[:, :, None]

    def in_own(x: Array) -> Array:
        """`(*batch, head, kv_head, k)`, and 0 but at the head that the query head reads."""
        x = jnp.broadcast_to(x, (*batch, heads, kv_heads, x.shape[-1]))
        return jnp.where(like(own, x), x, 0)

    spread = in_own(q[..., 0, :, None, :]).reshape(*batch, heads, kv_heads * width)
    scores = einsum("...hc,...sc->...hs", spread, k.reshape(*batch, keys, kv_heads * width), dtype=wide)
    if allowed is not None:
        scores = jnp.where(like(allowed, scores), scores, jnp.finfo(wide).min)
    weights = jnp.exp(scores - like(scores.max(-1, keepdims=True), scores))
    total = weights.sum(-1)[..., None]
    rows = v.reshape(*batch, keys, kv_heads * v.shape[-1])
    mixed = einsum("...hs,...sc->...hc", weights.astype(v.dtype), rows, dtype=wide)
    mixed = in_own(mixed.reshape(*batch, heads, kv_heads, v.shape[-1])).sum(-2)
    return (mixed / like(total, mixed)).astype(v.dtype)[..., None, :, :]
