"""Activations that never leave the devices of a mesh: computed there, shuffled by number, and read there."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from ..corpus._batches import Batch, CorpusBatches
from ..corpus._corpus import select
from ..corpus._fold import folded
from ..mesh._automatic import automatic
from ..mesh._rows import replicated, row_parts, whole_on
from ..mesh._taken import all_finite, joined, places, taken
from ..typing import JSON, MeshLike
from ._reading import batch_of, plan


class PoolRows(NamedTuple):
    """Rows of activations on a mesh.

    - `arrays`: of each site `(pass, context, pos, *layer, ...)`, contexts over "data".
    - `rows` `(row,)`: the numbers of the rows that count, over the first three axes.
    """

    arrays: list[jax.Array]
    rows: np.ndarray


class MeshStream:
    """The batches of a `Stream` as arrays on a mesh: what `Stream.on` returns.

    `batch(i)` has its rows over the axis "data". Everything runs in the thread that asks, since devices
    that exchange rows must be given their programs in one order.
    """

    def __init__(self, stream: Any, mesh: MeshLike) -> None:
        self.stream, self.mesh = stream, automatic(mesh)
        parts = row_parts(mesh)
        if stream.size % parts:
            raise ValueError(
                f"A batch of {stream.size} rows cannot be divided among {parts} devices along 'data'. Give a "
                f"batch_size= that is a multiple of {parts}."
            )
        self.model = replicated(self.mesh, stream.model)
        self._whole: PoolRows | None = None
        self._pool: tuple[tuple[int, int], PoolRows, np.ndarray] | None = None

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        return f"{self.stream!r} on a mesh of {axes}"

    def described(self) -> JSON:
        """As `Stream.described`: the numbers do not depend on the mesh, but for rounding."""
        return self.stream.described()

    def batch(self, number: int) -> Any:
        """Batch `number`, counted from 0 without end: `(batch, ...)`, or a tuple for a pair of sites."""
        epoch, pool, within = self.stream.pools.place(number)
        found, order = self._rows_of_pool(epoch, pool)
        chosen = found.rows[order[within * self.stream.size : (within + 1) * self.stream.size]]
        parts = []
        for array in found.arrays:
            part, place = (whole_on(self.mesh, x) for x in places(self.mesh, array.shape[:3], chosen))
            parts.append(taken(array, part, place, mesh=self.mesh))
        return parts[0] if len(parts) == 1 else tuple(parts)

    def batches(self, start: int = 0) -> Iterator[Any]:
        """`batch(start)`, `batch(start + 1)`, ... without end."""
        while True:
            yield self.batch(start)
            start += 1

    def _rows_of_pool(self, epoch: int, pool: int) -> tuple[PoolRows, np.ndarray]:
        if self._pool is None or self._pool[0] != (epoch, pool):
            self._pool = None  # its memory is needed for the next one
            contexts, order = self.stream.pool_rows(epoch, pool)
            if contexts is None:
                if self._whole is None:
                    self._whole = self._run(self.stream.contexts)
                found = self._whole
            else:
                found = self._run(contexts)
            self._pool = (epoch, pool), found, order
        return self._pool[1:]

    def _run(self, contexts: np.ndarray) -> PoolRows:
        """Rows of contexts, one forward pass after another; nothing but one bool reaches the host."""
        part = select(self.stream.corpus, contexts)
        reading = plan(self.model, part, self.stream.sites)
        size = batch_of(reading, self.stream.passes)
        batches = CorpusBatches(part, self.model, size, padded=reading.padded, mesh=self.mesh)
        passes = folded(
            batches, self.model, reading.captures, [], _kept, per_batch=_activations, progress=False
        )
        names = list(reading.shapes)
        arrays = []
        for name in names:
            stacked = reading.shapes[name][0] is not None
            arrays.append(joined([acts[name] for acts in passes], mesh=self.mesh, stacked=stacked))
            reading.check_finite(name, bool(jax.device_get(all_finite(arrays[-1]))), contexts)
        positions = np.asarray(part.positions)[batches.rows]
        width = arrays[0].shape[2]
        if width < positions.shape[1]:  # those that count come first, and in order
            positions = np.arange(width) < positions.sum(1)[:, None]
        return PoolRows(arrays, np.flatnonzero(positions))


def _activations(batch: Batch, acts: Any) -> dict[str, jax.Array]:
    return dict(acts.items())


def _kept(passes: list[Any], batch: Batch, acts: Any) -> list[Any]:
    return [*passes, acts]
