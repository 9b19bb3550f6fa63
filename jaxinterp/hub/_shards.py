"""A leaf filled part by part: what this process's devices hold of it, and nothing else, is on the host.

The tensors of a checkpoint are read a few rows at a time. Rows that no device of this process needs are not
read, where the first axis of their layout is the one that is split; other parts of a row are dropped at once.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import einops
import jax
import numpy as np
from jax.sharding import Sharding

from ._port_row import Row
from ._tensors import LazyTensor

CHUNK_BYTES = 2**23
"""The bytes of one reading."""
Bounds = tuple[tuple[int, int], ...]
"""Where a part begins and ends, for each axis."""


class Shards:
    """The parts of one leaf on the devices of this process, while they are filled.

    `where` is None for the default device, which an array does not insist on.
    """

    def __init__(self, leaf: Any, where: Sharding | None) -> None:
        self.shape, self.where = tuple(leaf.shape), where
        default = {None: (slice(None),) * len(self.shape)}
        slices = default if where is None else where.addressable_devices_indices_map(self.shape)
        self.bounds: dict[Any, Bounds] = {
            device: tuple(part.indices(size)[:2] for part, size in zip(index, self.shape, strict=True))
            for device, index in slices.items()
            if index is not None
        }
        self.parts = {
            bounds: aligned(tuple(stop - start for start, stop in bounds), leaf.dtype)
            for bounds in set(self.bounds.values())
        }

    def span(self, axis: int) -> tuple[int, int]:
        """The first and the last entry of an axis that any part has."""
        ends = [bounds[axis] for bounds in self.parts] or [(0, 0)]
        return min(start for start, _ in ends), max(stop for _, stop in ends)

    def put(self, start: Sequence[int], block: np.ndarray) -> None:
        """Copies what a block of the leaf, which begins at `start`, has of each part."""
        for bounds, part in self.parts.items():
            cut = [
                (max(low, at), min(high, at + size))
                for (low, high), at, size in zip(bounds, start, block.shape, strict=True)
            ]
            if all(low < high for low, high in cut):
                ours = tuple(
                    slice(low - first, high - first)
                    for (low, high), (first, _) in zip(cut, bounds, strict=True)
                )
                theirs = tuple(slice(low - at, high - at) for (low, high), at in zip(cut, start, strict=True))
                part[ours] = block[theirs]

    def array(self) -> jax.Array:
        """The leaf on its devices; the parts are theirs from now on."""
        pieces = [
            jax.device_put(self.parts[bounds], device, may_alias=True)
            for device, bounds in self.bounds.items()
        ]
        self.parts = {}
        if self.where is None:
            return pieces[0]
        return jax.make_array_from_single_device_arrays(self.shape, self.where, pieces)


def fill_shards(
    row: Row, shards: Sequence[Shards], tensors: Sequence[LazyTensor], progress: Callable[[int], Any]
) -> None:
    """Reads the tensors of a row, one for each layer or one in all, into the parts of its leaves."""
    one = shards[0].shape[1:] if row.stacked else shards[0].shape
    first, last = shards[0].span(0) if row.stacked else (0, 1)
    for layer, tensor in enumerate(tensors):
        before = (layer,) if row.stacked else ()
        if not row.stacked or first <= layer < last:
            _fill_one(row, one, shards, before, tensor)
        progress(tensor.nbytes)


def _fill_one(
    row: Row, one: tuple[int, ...], shards: Sequence[Shards], before: tuple[int, ...], tensor: LazyTensor
) -> None:
    sizes, several = dict(row.axes(one)), len(shards) > 1
    lead = row.leading(sizes)
    if lead is None:
        for leaf, block in zip(shards, row.to_ours(tensor.read(), one), strict=True):
            _put(leaf, before, (0,) * len(one), block)
        return
    name, axis, each = lead
    spread = several and axis == 0  # the leaves are the entries of this axis
    axis -= several
    low, high = (0, len(shards)) if spread else shards[0].span(axis + len(before))
    step = max(1, CHUNK_BYTES // max(tensor.nbytes // sizes[name], 1))
    read = tensor.reader()
    for start in range(low, high, step):
        stop = min(start + step, high)
        sizes[name] = stop - start
        ours = einops.rearrange(read(start * each, stop * each), row.pattern, **sizes)
        offset = [0] * len(one)
        if not spread:
            offset[axis] = start
        chosen = shards[start:stop] if spread else shards
        for leaf, block in zip(chosen, ours if several else [ours], strict=True):
            _put(leaf, before, offset, block)


def _put(leaf: Shards, before: tuple[int, ...], offset: Sequence[int], block: np.ndarray) -> None:
    leaf.put((*before, *offset), block.reshape((1,) * len(before) + block.shape))


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty host array, aligned so that JAX on a CPU takes it over without a copy."""
    size, align = math.prod(shape) * np.dtype(dtype).itemsize, 64
    raw = np.empty(size + align, np.uint8)
    start = -raw.ctypes.data % align
    return raw[start : start + size].view(dtype).reshape(shape)
