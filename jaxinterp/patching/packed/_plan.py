"""How a sweep is cut so that it fits: pieces of the cells, chunks of rows, rows of slots."""

import dataclasses
import os

import jax
import numpy as np

from ...core._check import logit_count, shown
from ...mesh._gather import data_size
from ...mesh._platform import platform_of
from ...typing import BytesLike
from .._grid import Grid
from .._pairs import PatchingPair
from ._rows import PackedRows, pack, rows_that_suffice

LOGITS_BYTES = 2**28
SCORES_BYTES = 2**24
"Scores of a chunk in float32: attention holds as many without a loop."

MOST_AT_ONCE = 4
"Chunks that pass a block together: each is one more copy in and out of the program."


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some of the jobs, packed: `index` are their entries along the axes of the site."""

    rows: PackedRows
    index: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Plan:
    """`order` lists the jobs as the pieces hold them; all pieces have the same shapes."""

    jobs: list[Piece]
    order: np.ndarray
    chunks: int
    chunk_rows: int
    at_once: int
    "Chunks that pass a block together."
    unembed: int
    "Cells whose logits are made at once."


def byte_limit(max_bytes: BytesLike) -> int:
    """Memory in bytes, of a number or "auto"."""
    if isinstance(max_bytes, str) and max_bytes == "auto":
        return available_bytes()
    if (
        isinstance(max_bytes, bool)
        or not isinstance(max_bytes, int | float | np.number)
        or not 0 < max_bytes < np.inf
    ):
        raise ValueError(
            f"max_bytes is a number of bytes above 0, such as 2**30, or 'auto'; got {shown(max_bytes)}."
        )
    return int(max_bytes)


def plan(
    grid: Grid,
    pair: PatchingPair,
    begin: np.ndarray,
    stop: np.ndarray,
    reads: int,
    max_bytes: BytesLike,
) -> Plan:
    """Cuts the suffixes `begin..stop` (batch, job), (batch,) into as few pieces as fit into `max_bytes`.

    Shapes follow from those of the prompts and of the grid alone, unless entries are chosen.
    """
    ragged = pair.model.config.causal and any(axis in grid.index for axis in ("pos", "query", "key"))
    accelerated = platform_of((pair.model, pair.target)) != "cpu"
    slots = slot_count(pair.pos, ragged, accelerated)
    full = ragged and grid.covers_positions(pair.pos)
    limit = byte_limit(max_bytes)
    spread = data_size((pair.model, pair.target))
    sizes = _SweepBytes(grid, pair, slots, reads, 4096 if accelerated else 512)
    # Long and short suffixes in every piece, so that they fill each other's rows.
    by_length = np.argsort(begin.mean(0), kind="stable")
    order = np.empty_like(by_length)
    half = (len(order) + 1) // 2
    order[::2], order[1::2] = by_length[:half], by_length[half:][::-1]
    count, most = 1, sizes.step_rows(limit)
    while True:
        parts = np.array_split(order, count)
        width = len(parts[0])
        parts = [np.resize(part, width) for part in parts]
        packed = [pack(begin[:, part], stop, slots) for part in parts]
        used = max(rows.used for rows in packed)
        if full and count == 1:
            rows = max(used, len(stop) * rows_that_suffice(grid.jobs, pair.pos, slots))
        elif not ragged:
            rows = len(stop) * -(-width // (slots // pair.pos))
        else:
            rows = 1 << (max(used, 1) - 1).bit_length()
        # As many rows of every prompt: prompts that begin to differ at one position then fill whole chunks.
        step = most
        if not accelerated and spread == 1:
            # Chunks that nothing fills are skipped, so small ones: prompts end or begin to differ anywhere.
            step = -(-step // MOST_AT_ONCE)
            step = min(most, -(-step // len(stop)) * len(stop))
        step = (step - step % len(stop) if step > len(stop) else step) * spread
        chunks = -(-rows // step)
        # On a mesh the rows of a chunk lie over "data", as many on each device.
        chunk_rows = -(-rows // (chunks * spread)) * spread
        # All rows of one group pass a block in as few equal parts as fit.
        at_once = 1 if accelerated or spread > 1 else int(-(-chunks // -(-rows // most)))
        needed = sizes.needed(chunks * chunk_rows, at_once * chunk_rows)
        if needed <= limit:
            break
        # More pieces first, then fewer rows at once; one job in rows that pass one by one needs the least.
        if count == grid.jobs and most == 1:
            raise ValueError(
                f"This sweep needs at least {as_option(needed)} (the unpatched run and the values of "
                f"{grid.site!r} alone take {_mb(sizes.fixed)}), and max_bytes is {limit}. Raise "
                "max_bytes, give fewer prompts at once, or sweep a part of the layers: "
                "over={'layer': range(3), ...}."
            )
        most = max(1, most // 2) if count == grid.jobs else most
        count = min(2 * count, grid.jobs)
    unembed = max(1, int(min(LOGITS_BYTES, limit // 4) // sizes.logits))
    pieces = [
        Piece(
            rows.padded(chunks * chunk_rows),
            {name: entries[..., part] for name, entries in grid.index.items()},
        )
        for rows, part in zip(packed, parts, strict=True)
    ]
    return Plan(pieces, np.concatenate(parts), chunks, chunk_rows, at_once, unembed)


def slot_count(pos: int, ragged: bool, accelerated: bool) -> int:
    """How long the rows are that suffixes of prompts of `pos` tokens are packed into.

    On a CPU one prompt fits, or a suffix and its complement. An accelerator computes in tiles of 128 keys, of
    which a row uses `pos` for the unpatched run and the rest for itself: of the lengths that fill the tiles it
    is the one that wastes the fewest slots where suffixes of all lengths are packed.
    """
    if not accelerated:
        return pos + 1 if ragged else pos
    most = -(-2 * pos // 128) * 128 - pos
    choices = range(most - most % 8, pos - 1, -8)
    if not ragged:
        return choices[0]
    return min(choices, key=lambda slots: rows_that_suffice(pos, pos, slots) * slots)


class _SweepBytes:
    """Bytes that a sweep takes: an estimate from the shapes of the sites."""

    def __init__(self, grid: Grid, pair: PatchingPair, slots: int, reads: int, tokens: int) -> None:
        shapes, self.tokens = pair.shapes, tokens
        batch, layers = int(np.prod(pair.batch)), pair.layers
        self.item = shapes["resid_pre"].dtype.itemsize
        self.d, self.pos, self.slots = shapes["resid_pre"].shape[-1], pair.pos, slots
        self.groups, self.heads = len(grid.groups), shapes["q"].shape[-2]
        kv = int(np.prod(shapes["k"].shape[-2:]))
        ff = shapes["mlp_post"].shape[-1] if "mlp_post" in shapes else 0
        stream = batch * pair.pos
        site = int(np.prod(shapes[grid.site].shape))
        self.fixed = self.item * ((layers + 1) * stream * self.d + 2 * layers * stream * kv + layers * site)
        # Streams, heads and neurons of a row, patterns in float32, keys of the unpatched run.
        self.row = self.item * (slots * (8 * self.d + 3 * ff) + 4 * (self.pos + slots) * kv)
        self.row += 12 * self.heads * slots * (self.pos + slots)
        self.logits = 8 * batch * reads * logit_count(pair.model.config)

    def step_rows(self, limit: int) -> int:
        """PackedRows that pass through a block at once: enough to keep the device busy."""
        scores = 4 * self.heads * self.slots * (self.pos + self.slots)
        return max(1, min(round(self.tokens / self.slots), SCORES_BYTES // scores, int(limit / 4 / self.row)))

    def needed(self, rows: int, chunk_rows: int) -> int:
        stored = 2 * self.groups * rows * self.slots * self.d * self.item
        return int(self.fixed + stored + chunk_rows * self.row + self.logits)


def available_bytes() -> int:
    """Half of an accelerator's memory, a quarter of the machine's."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] // 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def as_option(size: int) -> str:
    """Bytes for a reader, and as the option that an error asks for: `1.5 MiB, max_bytes=1572864`."""
    return f"{_mb(size)}, max_bytes={size}"


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
