r"""Attention in one kernel for TPU: scores live in the chip's fast memory, a block at a time.

All keys of a short prompt's head are there at once. For a long prompt the grid visits the blocks `(query, key)`
on and below the diagonal and no others. While it goes along the keys of one block of queries, it keeps the
running maximum $m$, the sum $l$ of weights and the mix of values, which are rescaled when the maximum grows
(FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Bool, Float

from ._one_query import LANES

BLOCK = 512
"How many queries, and keys, a step takes."
WHOLE = 1024
"Up to how many positions all keys of a head are in fast memory at once."
HIDDEN = -0.7 * float(np.finfo(np.float32).max)
"A score so low that its weight is 0; two of them still add up to a finite number."


def attention(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    real: Bool[Array, "*batch key"] | None,
    z: Float[Array, "*batch query head k"] | None = None,
    *,
    causal: bool,
    interpret: bool = False,
) -> tuple[Float[Array, "..."], ...]:
    """The values that scaled queries read; with a cotangent `z`, those of queries, keys and values.

    Lengths are padded to whole blocks, and batch axes are joined.
    """
    *batch, queries, _, _ = q.shape
    keys = k.shape[-3]
    block = BLOCK if queries > max(WHOLE, BLOCK) else BLOCK // 2
    join = lambda x: _to_blocks(x.reshape(-1, *x.shape[-3:]), block)
    part = lambda x, count: jnp.swapaxes(x, 1, 2)[:, :count].reshape(*batch, count, *x.shape[1::2])
    # A causal query reads no key behind it, so keys added at the end need no rule.
    if real is None and not causal and keys % block:
        real = jnp.ones((*batch, keys), bool)
    if real is not None:
        real = jnp.pad(real.reshape(-1, keys), ((0, 0), (0, -keys % block)))
    if z is None:
        bias = None if real is None else jnp.where(real, 0.0, HIDDEN).astype(jnp.float32)[:, None]
        out = flash(join(q), join(k), join(v), bias, causal=causal, block=block, interpret=interpret)
        return (part(out, queries),)
    dq, dk, dv = _pulled(join(q), join(k), join(v), real, join(z), causal)
    return part(dq, queries), part(dk, keys), part(dv, keys)


def _to_blocks(x: Float[Array, "batch pos head k"], block: int) -> Float[Array, "batch head longer k"]:
    """The head before the position, and zeros up to a whole number of blocks."""
    return jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, 0), (0, -x.shape[1] % block), (0, 0)))


def _pulled(
    q: Array, k: Array, v: Array, real: Array | None, z: Array, causal: bool
) -> tuple[Array, Array, Array]:
    """Cotangents of queries, keys and values, by the kernels of JAX's own flash attention."""
    from jax.experimental.pallas.ops.tpu import flash_attention as library

    ids = None
    if real is not None:
        ids = library.SegmentIds(jnp.ones((q.shape[0], q.shape[2]), jnp.int32), real.astype(jnp.int32))
    names = "q k_major k q_major_dkv k_major_dkv k_dkv q_dkv k_major_dq k_dq q_dq"
    sizes = library.BlockSizes(block_b=1, **{f"block_{name}": BLOCK // 2 for name in names.split()})
    group = q.shape[1] // k.shape[1]

    def mix(q: Array, k: Array, v: Array) -> Array:
        k, v = (jnp.repeat(x, group, axis=1) for x in (k, v))
        return library.flash_attention(q, k, v, segment_ids=ids, causal=causal, block_sizes=sizes)

    with jax.default_matmul_precision("highest" if q.dtype == jnp.float32 else "default"):
        return jax.vjp(mix, q, k, v)[1](z)


def flash(
    q: Float[Array, "batch head query k"],
    k: Float[Array, "batch kv_head key k"],
    v: Float[Array, "batch kv_head key k"],
    bias: Float[Array, "batch 1 key"] | None,
    *,
    causal: bool,
    block: int,
    interpret: bool = False,
) -> Float[Array, "batch head query k"]:
    """The values that scaled queries read, for lengths that are multiples of `block`.

    **Arguments:**

    - `q`, `k`, `v`: query head `h` reads key/value head `h // (heads / kv_heads)`.
    - `bias`: added to the scores of every query, float32; `HIDDEN` hides a key.
    - `causal`: whether keys behind a query are hidden; then there are as many keys as queries.
    - `block`: how many queries and keys a step of the grid takes.
    - `interpret`: whether the kernel is emulated, on any machine.
    """
    batch, heads, queries, width = q.shape
    rows, columns = queries // block, k.shape[2] // block
    group = np.int32(heads // k.shape[1])
    given = (q, k, v) if bias is None else (q, k, v, bias)
    if max(queries, k.shape[2]) <= WHOLE:
        specs = [
            pl.BlockSpec((None, None, queries, width), lambda b, h: (b, h, 0, 0)),
            *[pl.BlockSpec((None, None, k.shape[2], width), lambda b, h: (b, lax.div(h, group), 0, 0))] * 2,
            pl.BlockSpec((None, 1, k.shape[2]), lambda b, h: (b, 0, 0)),
        ]
        return pl.pallas_call(
            functools.partial(_whole, causal=causal, block=block, padded=bias is not None),
            out_shape=jax.ShapeDtypeStruct(q.shape, v.dtype),
            grid=(batch, heads),
            in_specs=specs[: len(given)],
            out_specs=specs[0],
            compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
            interpret=interpret,
        )(*given)
    steps = [(i, j) for i in range(rows) for j in range(i + 1 if causal else columns)]
    row, column = (jnp.asarray([step[n] for step in steps], jnp.int32) for n in (0, 1))

    of_query = pl.BlockSpec((None, None, block, width), lambda b, h, s, row, column: (b, h, row[s], 0))
    of_key = pl.BlockSpec(
        (None, None, block, width), lambda b, h, s, row, column: (b, lax.div(h, group), column[s], 0)
    )
    of_bias = pl.BlockSpec((None, 1, block), lambda b, h, s, row, column: (b, 0, column[s]))
    kernel = functools.partial(_kernel, causal=causal, columns=columns, padded=bias is not None)
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct(q.shape, v.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(batch, heads, len(steps)),
            in_specs=[of_query, of_key, of_key, of_bias][: len(given)],
            out_specs=of_query,
            scratch_shapes=[
                pltpu.VMEM((block, LANES), jnp.float32),
                pltpu.VMEM((block, LANES), jnp.float32),
                pltpu.VMEM((block, width), jnp.float32),
            ],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=interpret,
    )(row, column, *given)


def _kernel(row: Any, column: Any, *refs: Any, causal: bool, columns: int, padded: bool) -> None:
    """One block of queries against one block of keys."""
    q_ref, k_ref, v_ref = refs[:3]
    out_ref, top_ref, sum_ref, mix_ref = refs[-4:]
    step = pl.program_id(2)
    i, j = row[step], column[step]
    block = q_ref.shape[0]

    @pl.when(j == 0)
    def _() -> None:
        top_ref[...] = jnp.full(top_ref.shape, -jnp.inf, jnp.float32)
        sum_ref[...] = jnp.zeros(sum_ref.shape, jnp.float32)
        mix_ref[...] = jnp.zeros(mix_ref.shape, jnp.float32)

    scores = _product(q_ref[...], k_ref[...], 1)
    if padded:
        scores = scores + jnp.broadcast_to(refs[3][...], scores.shape)
    if causal:
        # Below the diagonal this hides nothing: i > j there.
        ahead = _columns(scores) - _rows(scores)
        scores = jnp.where(ahead <= (i - j) * block, scores, HIDDEN)
    before = top_ref[...]
    top = jnp.maximum(before, jnp.broadcast_to(scores.max(1, keepdims=True), before.shape))
    shrink = jnp.exp(before - top)
    weights = jnp.exp(scores - jnp.broadcast_to(top[:, :1], scores.shape))
    sum_ref[...] = shrink * sum_ref[...] + jnp.broadcast_to(weights.sum(1, keepdims=True), before.shape)
    top_ref[...] = top
    mixed = _product(weights.astype(v_ref.dtype), v_ref[...], 0)
    mix_ref[...] = mix_ref[...] * jnp.broadcast_to(shrink[:, :1], mixed.shape) + mixed

    @pl.when(j == (i if causal else columns - 1))
    def _() -> None:
        total = jnp.broadcast_to(sum_ref[:, :1], mixed.shape)
        out_ref[...] = (mix_ref[...] / total).astype(out_ref.dtype)


def _whole(*refs: Any, causal: bool, block: int, padded: bool) -> None:
    """All blocks of queries of one head, one after the other, each against all the keys that it reads."""
    q_ref, k_ref, v_ref, out_ref = *refs[:3], refs[-1]
    for start in range(0, q_ref.shape[0], block):
        stop = start + block
        end = stop if causal else k_ref.shape[0]
        scores = _product(q_ref[start:stop], k_ref[:end], 1)
        if padded:
            scores = scores + jnp.broadcast_to(refs[3][:, :end], scores.shape)
        if causal:
            ahead = _columns(scores) - _rows(scores)
            scores = jnp.where(ahead <= start, scores, HIDDEN)
        weights = jnp.exp(scores - jnp.broadcast_to(scores.max(1, keepdims=True), scores.shape))
        mixed = _product(weights.astype(v_ref.dtype), v_ref[:end], 0)
        total = jnp.broadcast_to(weights.sum(1, keepdims=True), mixed.shape)
        out_ref[start:stop] = (mixed / total).astype(out_ref.dtype)


def _product(a: Array, b: Array, axis: int) -> Array:
    """A product over the last axis of `a` and an axis of `b`; of float32 in full."""
    exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else lax.Precision.DEFAULT
    over = (((1,), (axis,)), ((), ()))
    return lax.dot_general(a, b, over, precision=exact, preferred_element_type=jnp.float32)


def _rows(x: Array) -> Array:
    return lax.broadcasted_iota(jnp.int32, x.shape, 0)


def _columns(x: Array) -> Array:
    return lax.broadcasted_iota(jnp.int32, x.shape, 1)
