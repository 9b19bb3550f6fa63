"""Interventions on whole layers as orders of blocks: where each begins to differ, and from which stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("delete", "swap", "repeat")


@dataclass(frozen=True, eq=False)
class LayerOrders:
    """Several interventions, each a suffix of blocks that runs from a stream of the clean run.

    `order (n, turn)`: numbers of blocks, of which `start..stop` (`(n,)` each) run on the stream that
    the clean run has before its block `start`; `names` and `kinds` of each.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    order: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def of(self, kind: str) -> np.ndarray:
        """The numbers of the interventions of a kind."""
        return np.flatnonzero(np.asarray(self.kinds) == kind)


def layer_orders(count: int, kinds: Sequence[str], orders: Mapping[str, np.ndarray]) -> LayerOrders:
    """Every layer deleted, every pair of neighbours swapped, every layer repeated, and orders by name."""
    straight = list(range(count))
    rows: list[tuple[str, str, list[int]]] = []
    if "delete" in kinds:
        rows += [("delete", str(i), straight[:i] + straight[i + 1 :]) for i in straight]
    if "swap" in kinds:
        rows += [
            ("swap", f"{i}-{i + 1}", [*straight[:i], i + 1, i, *straight[i + 2 :]]) for i in straight[:-1]
        ]
    if "repeat" in kinds:
        rows += [("repeat", str(i), straight[: i + 1] + straight[i:]) for i in straight]
    rows += [("orders", name, order.tolist()) for name, order in orders.items()]
    longest = max(1, *(len(order) for _, _, order in rows))
    table = np.zeros((len(rows), longest), np.int32)
    start = np.zeros(len(rows), np.int32)
    for i, (_, _, order) in enumerate(rows):
        table[i, : len(order)] = order
        # The clean run has made the stream after all blocks that stand where they always do.
        same = [a == b for a, b in zip(order, straight, strict=False)] + [False]
        start[i] = same.index(False)
    stop = np.asarray([len(order) for _, _, order in rows], np.int32)
    return LayerOrders(
        tuple(name for _, name, _ in rows),
        tuple(kind for kind, _, _ in rows),
        table,
        start,
        stop,
    )
