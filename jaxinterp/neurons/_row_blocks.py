"""The matrix of a comparison, one block of rows after another, so that it never has to be held whole."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core._check import is_int
from ..corpus._checkpoint import beside
from ..mesh._rows import row_parts, rows_on
from ._pair_reading import Pair
from ._pairwise import AddPairs, alike, nothing
from ._ranks import Measure

BYTES = 2**30
ENTRY = 12  # bytes of an entry while it is summed: a total, its compensation and the product of a batch


def row_blocks(
    pair: Pair, measure: Measure, limit: int, checkpoint: Any, how: dict[str, Any]
) -> Iterator[tuple[slice, jax.Array]]:
    """Which rows, and the measure of each pair in them `(row, unit)`; one reading of the corpus for each.

    `limit` bounds the bytes of the sums and of a batch's units; `how` has `batch_size` and `mesh`, and
    may have `progress`.
    """
    first, second = pair.read.sides
    count, wide = first.count, second.count * (1 if pair.read.chance is None else 2)
    mesh = how["mesh"]
    half = max(1, limit // 2)
    rows, blocks = block_rows(count, wide, half, 1 if mesh is None else row_parts(mesh))
    for block in range(blocks):
        own = how | {"checkpoint": _block_file(checkpoint, block, blocks), "limit": half}
        r = _block(pair, measure, block * rows, rows, blocks * rows, wide, own)
        here = slice(block * rows, min(count, (block + 1) * rows))
        yield here, r[: here.stop - here.start]


def _block(
    pair: Pair, measure: Measure, start: int, rows: int, padded: int, wide: int, how: dict[str, Any]
) -> jax.Array:
    """The rows of one block, `(row, unit)`."""
    mesh = how["mesh"]
    zeros = lambda: jnp.zeros((rows, wide), jnp.float32)
    if mesh is not None and rows % row_parts(mesh) == 0:
        zeros = lambda: rows_on(mesh, np.zeros((rows, wide), np.float32))
    kind = None if pair.read.chance is None else pair.read.chance.kind
    about = f"{measure} {kind} {pair.read.sides[0].captures} {pair.read.sides[1].captures}"
    step = AddPairs(
        pair.read,
        jnp.int32(start),
        jnp.asarray(np.frombuffer(about.encode(), np.uint8)),
        padded,
        measure.centred,
    )
    state = pair.fold(nothing(padded, wide, zeros), step, **{"progress": "correlations", **how})
    if not np.isfinite(state.a.squares[0]).all() or not np.isfinite(state.b.squares[0]).all():
        raise ValueError("Activations are NaN or infinite: are the weights finite, and does the dtype reach?")
    return alike(state, jnp.int32(start), measure.name)


def block_rows(n: int, wide: int, limit: int, parts: int) -> tuple[int, int]:
    """How many rows a block has, a multiple of `parts`, and how many blocks there are."""
    most = max(1, limit * parts // (ENTRY * wide))
    blocks = -(-n // most)
    rows = -(-n // blocks)
    return -(-rows // parts) * parts, blocks


def as_limit(max_bytes: Any) -> int:
    if isinstance(max_bytes, str) and max_bytes == "auto":
        return BYTES
    if not is_int(max_bytes) or int(max_bytes) < 1:
        raise ValueError(f"max_bytes is a number of bytes, 2**30 for 1 GiB, or 'auto'; got {max_bytes!r}.")
    return int(max_bytes)


def _block_file(checkpoint: Any, block: int, blocks: int) -> Any:
    return checkpoint if blocks == 1 else beside(checkpoint, str(block + 1))
