r"""Reading a stream a chunk of positions at a time: $(batch, chunk, vocab)$ exists, and no $(batch, pos, vocab)$."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..mesh._gather import data_size
from ..typing import PyTree
from ._read import Streams, gathered

CHUNK_BYTES = 2**27
"Bytes of float32 logits on a device: positions are read in chunks that keep to it."


class ChunkedPositions(NamedTuple):
    """How the positions of a stream are cut. The last chunk begins early enough to be whole."""

    pos: int
    "All positions."
    size: int
    "Positions of a chunk."
    number: int
    "How many chunks."

    @property
    def starts(self) -> Array:
        """The first position of each chunk, `(chunk,)`."""
        return jnp.minimum(self.size * jnp.arange(self.number, dtype=jnp.int32), self.pos - self.size)

    @property
    def again(self) -> int:
        """How many positions the last chunk repeats: its first ones."""
        return self.size * self.number - self.pos

    def cut(self, x: Array | None, start: Array, axis: int = -1) -> Any:
        """The positions of one chunk, where `axis` counts positions; None stays None."""
        return None if x is None else lax.dynamic_slice_in_dim(x, start, self.size, axis)

    def part(self, streams: Streams, start: Array) -> Streams:
        """The streams of one chunk."""
        after, embedded = (self.cut(x, start, -2) for x in (streams.after, streams.embedded))
        return dataclasses.replace(streams, embedded=embedded, after=after)


def chunks_of(streams: Streams, vocab: int) -> ChunkedPositions:
    """As few chunks as `CHUNK_BYTES` allow; one where an edit may act across positions after the last block."""
    *batch, pos, _ = streams.after.shape[1:]
    # A chunk is of positions, since the rows of a batch may lie on several devices.
    each = -(-math.prod(batch) // data_size(None)) * vocab * 4
    size = max(1, CHUNK_BYTES // max(each, 1))
    if streams.logits is not None or pos <= size:
        return ChunkedPositions(pos, pos, 1)
    size = -(-pos // -(-pos // size))
    return ChunkedPositions(pos, size, -(-pos // size))


def in_chunks(
    piece: Callable[[Streams, Array | None], dict[str, Array]],
    streams: Streams,
    targets: Array | None,
    vocab: int,
) -> dict[str, Array]:
    """`piece` of one chunk of positions after the other, put together along the positions."""
    chunks, streams = chunks_of(streams, vocab), gathered(streams)
    if chunks.number == 1:
        return piece(streams, targets)
    axes = streams.after.ndim - 3  # of the batch
    out = lax.map(lambda start: piece(chunks.part(streams, start), chunks.cut(targets, start)), chunks.starts)

    def joined(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, axes + 1)  # (row, *batch, chunk, position, ...)
        lead, rest = x.shape[: axes + 1], x.shape[axes + 3 :]
        first = x[(slice(None),) * len(lead) + (slice(0, -1),)]
        first = first.reshape(*lead, (chunks.number - 1) * chunks.size, *rest)
        last = x[(slice(None),) * len(lead) + (-1, slice(chunks.again, None))]
        return jnp.concatenate([first, last], axis=len(lead))

    return {name: joined(x) for name, x in out.items()}


def sum_of_chunks(
    add: Callable[[PyTree, Streams, Array, Array | None], PyTree],
    total: PyTree,
    streams: Streams,
    share: Array,
    targets: Array | None,
    vocab: int,
) -> PyTree:
    """`add(total, streams, share, targets)` of one chunk of positions after the other.

    What the last chunk repeats has no share.
    """
    chunks, streams = chunks_of(streams, vocab), gathered(streams)
    if chunks.number == 1:
        return add(total, streams, share, targets)

    def step(total: PyTree, xs: tuple[Array, Array]) -> tuple[PyTree, None]:
        start, first = xs
        own = chunks.cut(share, start)
        counts = start + jnp.arange(chunks.size, dtype=jnp.int32) >= first
        own = jnp.where(counts, own, 0)
        return add(total, chunks.part(streams, start), own, chunks.cut(targets, start)), None

    firsts = chunks.size * jnp.arange(chunks.number, dtype=jnp.int32)
    return lax.scan(step, total, (chunks.starts, firsts))[0]
