r"""Suffixes of different lengths, packed into rows of equal length: $\sum_p (T - p)$ tokens, not $T^2$.

A patch at position $p$ leaves all positions before it as they were, so its run is the positions
$p, \dots, T-1$ alone: a suffix. Two suffixes that have $T + 1$ positions between them fill a row.
Everything here is data of fixed shape: another batch of prompts compiles nothing again.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class PackedRows:
    """Suffixes in rows of slots. Slots of one suffix lie side by side, in the order of positions.

    - `example` (row,): whose prompt a row belongs to;
    - `job`, `column` (row, slot): which suffix a slot belongs to (-1: none), and its position;
    - `first`, `last` (row, slot): the slots between which that suffix lies (of none: nothing lies between);
    - `row`, `slot` (batch, job): where a suffix begins (row -1: it is not run, for it cannot
      change anything); `start` (batch, job): its first position;
    - `used`: how many rows are filled.
    """

    example: np.ndarray
    job: np.ndarray
    column: np.ndarray
    first: np.ndarray
    last: np.ndarray
    row: np.ndarray
    slot: np.ndarray
    start: np.ndarray
    used: int

    def padded(self, rows: int) -> "PackedRows":
        """The same with room for so many rows."""
        extra = rows - len(self.example)
        return dataclasses.replace(
            self,
            example=np.pad(self.example, (0, extra)),
            job=np.pad(self.job, ((0, extra), (0, 0)), constant_values=-1),
            column=np.pad(self.column, ((0, extra), (0, 0))),
            first=np.pad(self.first, ((0, extra), (0, 0)), constant_values=self.job.shape[1]),
            last=np.pad(self.last, ((0, extra), (0, 0)), constant_values=-1),
        )


def pack(start: np.ndarray, stop: np.ndarray, slots: int) -> PackedRows:
    """Packs the suffixes `start..stop` (batch, job), (batch,); an empty one is not run."""
    batch, jobs = start.shape
    placed: list[tuple[int, int, int, int]] = []  # example, row, slot, job
    count = 0
    for example in range(batch):
        waiting: dict[int, list[int]] = {}
        for job in range(jobs - 1, -1, -1):
            length = int(stop[example] - start[example, job])
            if length > 0:
                waiting.setdefault(length, []).append(job)
        lengths = sorted(waiting, reverse=True)
        while lengths:
            room = slots
            # The longest that is left, then the longest that still fits.
            while (length := next((n for n in lengths if n <= room), None)) is not None:
                placed.append((example, count, slots - room, waiting[length].pop()))
                room -= length
                if not waiting[length]:
                    lengths.remove(length)
            count += 1
    total = max(count, 1)
    packed = PackedRows(
        example=np.zeros(total, np.int32),
        job=np.full((total, slots), -1, np.int32),
        column=np.zeros((total, slots), np.int32),
        first=np.full((total, slots), slots, np.int32),
        last=np.full((total, slots), -1, np.int32),
        row=np.full((batch, jobs), -1, np.int32),
        slot=np.zeros((batch, jobs), np.int32),
        start=start.astype(np.int32),
        used=count,
    )
    for example, row, slot, job in placed:
        first = int(start[example, job])
        here = slice(slot, slot + int(stop[example]) - first)
        packed.example[row] = example
        packed.job[row, here] = job
        packed.column[row, here] = np.arange(first, stop[example])
        packed.first[row, here], packed.last[row, here] = here.start, here.stop - 1
        packed.row[example, job], packed.slot[example, job] = row, slot
    return packed


def first_difference(a: Any, b: Any) -> np.ndarray:
    """The first position at which two prompts differ, `(batch,)`; their length where they do not.

    Prompts `(batch, pos)` or embeddings `(batch, pos, d)`.
    """
    differ = np.asarray(a) != np.asarray(b)
    differ = differ if differ.ndim == 2 else differ.any(-1)
    return np.where(differ.any(-1), differ.argmax(-1), differ.shape[-1]).astype(np.int32)


def starts(index: dict[str, np.ndarray], jobs: int, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Where the suffix of each patch begins, `(batch, job)`; at `stop` where it changes nothing.

    `first` (batch,) is where two prompts begin to differ: a patch before that puts in what is
    there. `stop` (batch,) is behind the last position that the metric reads.
    """
    shape = (len(first), jobs)
    begin = np.broadcast_to(first[:, None], shape)
    at = {name: np.broadcast_to(index[name], shape) for name in index if name in ("pos", "query", "key")}
    never = np.broadcast_to(stop[:, None], shape)
    if "key" in at:
        begin = np.maximum(begin, at["key"])
    for name in ("pos", "query"):
        if name in at:
            begin = np.where(at[name] < begin, never, at[name])
    return np.minimum(begin, never).astype(np.int32)


def rows_that_suffice(jobs: int, columns: int, slots: int) -> int:
    """How many rows of `slots` one example fills, if every position begins as many suffixes and all are run."""
    begin = np.resize(np.arange(columns, dtype=np.int32), (1, jobs))
    return pack(begin, np.asarray([columns], np.int32), slots).used
