r"""Attention in one pass: $z_i = \sum_j e^{s_{ij} - m_i} v_j \big/ \sum_j e^{s_{ij} - m_i}$, without an array of
`(query, key)`.

Queries are taken a chunk at a time. A chunk holds its own rows of scores, sees all its keys, and is
normalised once, so nothing is rescaled and the result is exact. Reverse mode computes the rows of a
chunk again instead of keeping them. Few scores are one chunk, without a loop. Where a kernel suits, the
operation `_attention_call` may run one instead.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ..core._types import Reads
from ..mesh._gather import data_size
from ._attention_call import attention
from ._linear import accumulation_dtype, einsum, like
from ._one_query import LANES, side_by_side

CHUNK_BYTES = 2**24
"Bytes of scores that a chunk may hold on a device; heads that a plan spreads count whole."
LEAST = 64
"Queries of a chunk, though they be more bytes: about as many as the keys take themselves."
KERNEL_QUERIES = 256
"From how many queries on a kernel may take over."
SPANS = 4
"How often the keys behind a causal query are cut away: 4 spans leave 5/8 of the products."


def one_pass(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    reads: Reads,
) -> Float[Array, "*batch query head k"]:
    """The mix of values that queries, already scaled, read.

    **Arguments:**

    - `q`: queries, with the scale of the scores in them.
    - `k`, `v`: keys and values; query head `h` reads `h // (heads / kv_heads)`.
    - `reads`: which keys each query may read. A row that may read none is finite.
    """
    if suits_kernel(q, k, reads):
        return attention(_plain, q, k, v, reads.real, reads.causal)
    return chunked(q, k, v, reads)


def suits_kernel(
    q: Float[Array, "*batch query head k"], k: Float[Array, "*batch key kv_head k"], reads: Reads
) -> bool:
    """Whether there may be a kernel: for long prompts of common dtypes, padded or not.

    It knows the rules of `Reads` alone, and none that another class of reads adds, as packed rows do.
    """
    whole = type(reads) is Reads and isinstance(reads.first, int) and reads.first == 0 and reads.table is None
    square = not reads.causal or q.shape[-3] == k.shape[-3]
    width = q.shape[-1]
    fits = q.shape[-3] >= KERNEL_QUERIES and k.shape[-3] >= KERNEL_QUERIES and width % 8 == 0
    common = q.dtype in (jnp.bfloat16, jnp.float16, jnp.float32) and (width <= 128 or width % 128 == 0)
    return whole and square and fits and common and q.dtype == k.dtype


def _plain(
    q: Array, k: Array, v: Array, real: Array | None, causal: bool, *, chunk_bytes: int | None = None
) -> Array:
    return chunked(q, k, v, Reads(q.shape[-3], k.shape[-3], causal=causal, real=real), chunk_bytes)


def chunked(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    reads: Reads,
    chunk_bytes: int | None = None,
) -> Float[Array, "*batch query head k"]:
    """The same in plain XLA, for every shape, rule and dtype; a chunk's scores hold `chunk_bytes`, or `CHUNK_BYTES`."""
    *batch, queries, heads, _ = q.shape
    keys, wide = k.shape[-3], accumulation_dtype(q)
    spread = data_size(None)  # rows of a batch that divide lie over "data", and a device holds its own
    here = math.prod(batch) // (spread if batch and batch[0] % spread == 0 else 1)
    row = here * heads * keys * wide.itemsize
    at_once = max((chunk_bytes or CHUNK_BYTES) // max(row, 1), LEAST)
    if queries <= at_once:
        allowed = reads.rows(0, queries)
        if queries == 1 < keys and q.shape[-1] % LANES:
            return lax.platform_dependent(q, k, v, allowed, tpu=side_by_side, default=rows)
        return rows(q, k, v, allowed)
    triangle = reads.causal and isinstance(reads.first, int) and reads.first == 0 and queries == keys
    parts = []
    for start, stop in _spans(queries, SPANS if triangle else 1):
        end = stop if triangle else keys
        parts.append(_in_chunks(q[..., start:stop, :, :], k, v, reads, start, end, at_once))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-3)


def rows(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    allowed: Bool[Array, "*#batch query key"] | None,
) -> Float[Array, "*batch query head k"]:
    """The same for few queries, whose scores are held at once."""
    *batch, queries, heads, width = q.shape
    wide = accumulation_dtype(q)
    grouped = q.reshape(*batch, queries, k.shape[-2], heads // k.shape[-2], width)
    scores = einsum("...qngk,...snk->...ngqs", grouped, k, dtype=wide)
    if allowed is not None:
        scores = hide(scores, jnp.expand_dims(allowed, (-4, -3)))
    top = lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores - like(top, scores))
    # A column of ones gives the sum of the weights in the same product: a pass over the scores less.
    with_ones = jnp.concatenate([v, jnp.ones((*v.shape[:-1], 1), v.dtype)], -1)
    mixed = einsum("...ngqs,...snk->...qngk", weights.astype(v.dtype), with_ones, dtype=wide)
    mixed, total = mixed[..., :-1], mixed[..., -1:]
    return (mixed / like(total, mixed)).astype(v.dtype).reshape(*batch, queries, heads, v.shape[-1])


def hide(scores: Float[Array, "..."], allowed: Bool[Array, "..."]) -> Float[Array, "..."]:
    """Scores, and where `allowed` is False a number so low that its weight is 0.

    It is finite, so that a row which may read nothing (padding) stays finite too.
    """
    return jnp.where(like(allowed, scores), scores, jnp.finfo(scores.dtype).min)


def _spans(queries: int, count: int) -> list[tuple[int, int]]:
    """`count` spans of queries of about one length."""
    length = -(-queries // count)
    return [(start, min(start + length, queries)) for start in range(0, queries, length)]


def _in_chunks(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    reads: Reads,
    start: int,
    end: int,
    at_once: int,
) -> Float[Array, "*batch query head k"]:
    """The queries from `start` on, which read keys before `end`, at most `at_once` in a chunk."""
    *batch, queries, heads, width = q.shape
    chunks = -(-queries // at_once)
    size = -(-queries // chunks)
    chunks = -(-queries // size)
    k, v = k[..., :end, :, :], v[..., :end, :, :]

    missing = chunks * size - queries
    q = jnp.pad(q, [(0, 0)] * (q.ndim - 3) + [(0, missing), (0, 0), (0, 0)])
    if reads.table is not None and missing:
        padding = [(0, 0)] * (reads.table.ndim - 2) + [(0, missing), (0, 0)]
        reads = dataclasses.replace(reads, table=jnp.pad(reads.table, padding, constant_values=True))

    @jax.checkpoint
    def chunk(xs: tuple[Array, Array]) -> Array:
        first, q = xs
        return rows(q, k, v, reads.rows(first, size, end))

    firsts = start + size * jnp.arange(chunks, dtype=jnp.int32)
    split = jnp.moveaxis(q.reshape(*batch, chunks, size, heads, width), -4, 0)
    z = jnp.moveaxis(lax.map(chunk, (firsts, split)), 0, -4)
    return z.reshape(*batch, chunks * size, heads, z.shape[-1])[..., :queries, :, :]
