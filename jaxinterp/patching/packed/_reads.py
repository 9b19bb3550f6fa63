"""Packed rows on the device, and which keys their slots read."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from ...core._types import Reads

KEPT_BYTES = 2**24
"Rules of all rows as bools: up to so many they are kept, else each visit makes those of its rows."


class DeviceRows(eqx.Module):
    """The packed suffixes on the device of `_rows.PackedRows`, in chunks: (chunk, row[, slot])."""

    example: Int[Array, "*chunk row"]
    job: Int[Array, "*chunk row slot"]
    column: Int[Array, "*chunk row slot"]
    start: Int[Array, "*chunk row slot"]
    first: Int[Array, "*chunk row slot"]
    last: Int[Array, "*chunk row slot"]
    used: Int[Array, ""]
    "How many chunks hold anything."
    at_once: int = eqx.field(static=True, default=1)
    "How many chunks pass a block together."

    def of(self, numbers: Sequence[Any]) -> "DeviceRows":
        """The rows of some chunks, without their axis."""
        leaves = (self.example, self.job, self.column, self.start, self.first, self.last)
        example, job, column, start, first, last = (chunks_of(leaf, numbers) for leaf in leaves)
        return DeviceRows(example, job, column, start, first, last, self.used)


def chunks_of(leaf: Array, numbers: Sequence[Any]) -> Array:
    """Some chunks of an array `(chunk, row, ...)`, their rows one behind the other."""
    return jnp.concatenate([lax.dynamic_index_in_dim(leaf, number, keepdims=False) for number in numbers])


class RowReads(Reads):
    r"""The keys that slots of packed rows may read: those of the unpatched run, then the row's own.

    Slot $s$ reads the unpatched run before `start` of its suffix, and its row from slot `first` to `last`,
    or to itself in a causal model.
    """

    rows_of: DeviceRows | None = None
    pos: int = eqx.field(static=True, default=0)
    causal_rows: bool = eqx.field(static=True, default=True)

    def rows(self, start: Any, count: int, keys: int | None = None) -> Bool[Array, "row count key"]:
        rows, keys = self.rows_of, self.keys if keys is None else keys
        assert rows is not None  # `row_reads` gives them; a default stands because `Reads` has some
        cut = lambda leaf: lax.dynamic_slice_in_dim(leaf, start, count, 1)[..., None]
        key = jnp.arange(keys, dtype=jnp.int32)[None, None]
        shape = (rows.job.shape[0], count, keys)
        wide = lambda leaf: jnp.broadcast_to(leaf, shape)
        last = cut(rows.last)
        if self.causal_rows:
            own = jnp.arange(count, dtype=jnp.int32)[None, :, None] + start
            last = jnp.minimum(last, jnp.broadcast_to(own, last.shape))
        before = wide(key) < wide(cut(rows.start))
        own = (wide(key) >= wide(self.pos + cut(rows.first))) & (wide(key) <= wide(self.pos + last))
        allowed = before | own
        return allowed if self.real is None else allowed & wide(self.real[:, None, :keys])


def rules(rows: DeviceRows, real: Array | None, pos: int, causal: bool) -> Callable[[Sequence[Any]], Reads]:
    """What the slots of some chunks read, by their numbers. Rules of a few rows are made once, as arrays."""
    chunks, count, slots = rows.job.shape
    own = lambda numbers: row_reads(rows.of(numbers), real, pos, causal)
    if chunks * count * slots * (pos + slots) > KEPT_BYTES:
        return own
    tables = jax.vmap(lambda number: own([number]).rows(0, slots))(jnp.arange(chunks, dtype=jnp.int32))
    return lambda numbers: Reads(slots, pos + slots, table=chunks_of(tables, numbers))


def row_reads(rows: DeviceRows, real: Array | None, pos: int, causal: bool) -> RowReads:
    """What the slots of some chunks read, of prompts with a padding mask `real` (batch, pos)."""
    if real is not None:
        real = jnp.concatenate([real[rows.example], real[rows.example[:, None], rows.column]], -1)
    slots = rows.job.shape[-1]
    return RowReads(slots, pos + slots, real=real, rows_of=rows, pos=pos, causal_rows=causal)
