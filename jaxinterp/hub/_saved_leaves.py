"""The arrays of an orbax folder, read a few pieces at a time straight into the parts of this process's devices.

Orbax restores an array into a buffer of its own and copies that to the device, so that a host has twice the
part of a leaf, and the pieces that it decompresses at once besides. Here a piece goes to its place in the
part and is dropped, and the part becomes the device's array.
"""

import collections
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._shards import Shards

AT_ONCE = 2
"""Pieces that are read and decompressed at the same time."""


class SavedLeaves:
    """The arrays in a folder that orbax wrote, by name."""

    def __init__(self, folder: Path) -> None:
        import tensorstore as ts

        metadata = folder / "_METADATA"
        about = json.loads(metadata.read_text()) if metadata.is_file() else {}
        self.driver = "zarr3" if about.get("use_zarr3") else "zarr"
        # A piece of zeros is on disk too where this is said: one that is not there is missing.
        self.sparse = not about.get("store_array_data_equal_to_fill_value", False)
        self.folder, self.is_database = folder.absolute(), (folder / "manifest.ocdbt").is_file()
        few = {"limit": AT_ONCE}
        # No cache: every piece is read once.
        self.context = ts.Context(
            {
                "cache_pool": {"total_bytes_limit": 0},
                "data_copy_concurrency": few,
                "file_io_concurrency": few,
            }
        )

    def fill(self, name: str, shards: Shards) -> None:
        """Reads what the parts hold of one array; its pieces that no part needs stay on disk.

        Raises `ValueError` when the array has another shape than the leaf, or a piece of it is missing.
        """
        store = self._open(name)
        if tuple(store.shape) != shards.shape:
            raise ValueError(f"{name} has the shape {tuple(store.shape)} on disk, not {shards.shape}")
        waiting: collections.deque[tuple[tuple[int, ...], Any]] = collections.deque()

        def put_first() -> None:
            start, piece = waiting.popleft()
            shards.put(start, np.asarray(piece.result()))

        for box in _pieces(shards, store.chunk_layout.read_chunk.shape or store.shape):
            start = tuple(low for low, _ in box)
            waiting.append((start, store[tuple(slice(low, high) for low, high in box)].read()))
            if len(waiting) == AT_ONCE:
                put_first()
        while waiting:
            put_first()

    def _open(self, name: str) -> Any:
        import tensorstore as ts

        if self.is_database:
            base = f"file://{self.folder}/"
            place: dict[str, Any] = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        else:
            place = {"driver": "file", "path": f"{self.folder / name}/"}
        spec = {"driver": self.driver, "kvstore": place, "fill_missing_data_reads": self.sparse}
        return ts.open(spec, open=True, read=True, context=self.context).result()


def _pieces(shards: Shards, piece: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Where the pieces on disk begin and end that some part needs, cut to the span of all parts."""
    spans = [shards.span(axis) for axis in range(len(shards.shape))]
    along = [
        [(max(at, low), min(at + size, high)) for at in range(low - low % size, high, size)]
        for (low, high), size in zip(spans, map(int, piece), strict=True)
    ]
    for box in itertools.product(*along):
        for part in shards.parts:
            if all(low < stop and start < high for (low, high), (start, stop) in zip(box, part, strict=True)):
                yield list(box)
                break
