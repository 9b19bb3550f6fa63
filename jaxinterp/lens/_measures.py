r"""What a summary says of logits, and reading a stream a chunk of positions at a time: $(batch, chunk, vocab)$ exists."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..core._top import top_of_rows
from ..mesh._gather import data_size
from ._read import Streams

CHUNK_BYTES = 2**27
"Bytes of float32 logits on a device: positions are read in chunks that keep to it."


def in_chunks(
    piece: Callable[[Streams, Array | None], dict[str, Array]],
    streams: Streams,
    targets: Array | None,
    vocab: int,
) -> dict[str, Array]:
    """`piece` of as many positions at a time as `CHUNK_BYTES` allow, put together along the positions."""
    *batch, pos, _ = streams.after.shape[1:]
    # A chunk is of positions, since the rows of a batch may lie on several devices.
    each = -(-math.prod(batch) // data_size(None)) * vocab * 4
    size = max(1, CHUNK_BYTES // max(each, 1))
    if streams.logits is not None or pos <= size:
        return piece(streams, targets)
    chunks = -(-pos // size)
    size = -(-pos // chunks)
    chunks = -(-pos // size)

    def at(start: Array) -> dict[str, Array]:
        cut = lambda x, axis: None if x is None else lax.dynamic_slice_in_dim(x, start, size, axis)
        after = cut(streams.after, -2)
        part = dataclasses.replace(streams, embedded=cut(streams.embedded, -2), after=after)
        return piece(part, cut(targets, -1))

    # The last chunk begins early enough to be whole; what it repeats is dropped.
    starts = jnp.minimum(size * jnp.arange(chunks, dtype=jnp.int32), pos - size)
    out, again = lax.map(at, starts), size * chunks - pos

    def joined(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, len(batch) + 1)  # (row, *batch, chunk, position, ...)
        lead, rest = x.shape[: len(batch) + 1], x.shape[len(batch) + 3 :]
        first = x[(slice(None),) * len(lead) + (slice(0, -1),)].reshape(*lead, (chunks - 1) * size, *rest)
        last = x[(slice(None),) * len(lead) + (-1, slice(again, None))]
        return jnp.concatenate([first, last], axis=len(lead))

    return {name: joined(x) for name, x in out.items()}


def measures(logits: Array, own: Array, targets: Array | None, count: int) -> dict[str, Array]:
    """What a `Summary` says of the logits of one row; `own` are the model's log-probabilities."""
    # The likeliest first: with their logit as the maximum, no pass over the vocabulary looks for it.
    logits = logits.astype(np.promote_types(logits.dtype, np.float32))
    best, ids = top_of_rows(logits, count)
    top = jnp.where(jnp.isfinite(best[..., :1]), best[..., :1], 0)
    shifted = logits - jnp.broadcast_to(lax.stop_gradient(top), logits.shape)
    total = jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    logprobs = shifted - jnp.broadcast_to(total, shifted.shape)
    best = best - jnp.broadcast_to(top, best.shape) - jnp.broadcast_to(total, best.shape)
    out = {
        "top_ids": ids.astype(jnp.int32),
        "top_probs": jnp.exp(best),
        "entropy": -(jnp.exp(logprobs) * logprobs).sum(-1),
        "kl": kl(own, logprobs),
    }
    if targets is not None:
        chosen = jnp.take_along_axis(logprobs, jnp.maximum(targets, 0)[..., None], -1)
        likelier = logprobs > jnp.broadcast_to(chosen, logprobs.shape)
        rank = likelier.sum(-1, dtype=jnp.int32)
        none = targets < 0
        out["cross_entropy"] = jnp.where(none, jnp.nan, -chosen[..., 0])
        # Nothing is likelier than NaN, which would make it the first.
        none = none | jnp.isnan(chosen[..., 0])
        out["rank"] = jnp.where(none, -1, rank)
    return out


def log_softmax(logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
    """Log-probabilities in float32 at least."""
    wide = np.promote_types(logits.dtype, np.float32)
    return jax.nn.log_softmax(logits.astype(wide), axis=-1)


def kl(p: Float[Array, "*batch vocab"], q: Float[Array, "*batch vocab"]) -> Float[Array, "*batch"]:
    r"""$\sum_v p_v (\log p_v - \log q_v)$ of log-probabilities."""
    return (jnp.exp(p) * (p - q)).sum(-1)
