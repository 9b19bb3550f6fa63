"""Which parts of a model run where circuits differ from a known one, and at which positions.

A unit is an MLP, or the heads that share keys and values. Units behind a changed edge run, in order of computation. A
unit whose outputs reach the metric through the positions that it reads alone runs at these positions: nothing attends
to what the unit writes elsewhere. Such a unit is narrow; the others are wide.
"""

import dataclasses
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._graph import Graph
from ._numbering import table


class Units(eqx.Module):
    """Units that run one after the other, padded to a number, and what they read, by slot: queries, keys, values.

    - `mlp`, `layer`, `group`, `row`: is it an MLP, where it stands, and the number of its first sender.
    - `moves`: which slots may read something else than in the known circuit.
    - `keep`, `cut`: the edges of the known circuit.
    - `less`: which edges from the senders that changed circuits cut.
    - `heard`: which of the units that run each slot reads: rows of the wide ones, then of the narrow ones.
    """

    mlp: Bool[Array, " unit"]
    layer: Int[Array, " unit"]
    group: Int[Array, " unit"]
    row: Int[Array, " unit"]
    moves: Bool[Array, "unit slot"]
    keep: Float[Array, "unit slot sender"]
    cut: Float[Array, "unit slot sender"]
    less: Float[Array, "unit n slot changed"]
    heard: Float[Array, "unit slot row"]


class UnitPlan(eqx.Module):
    """What runs: wide units, then narrow ones, then the logits, whose slots are all alike.

    - `wide`, `narrow`, `logits`: the units; `counts`: how many of the wide and of the narrow ones run.
    - `changed`: numbers of the senders of changed edges, padded.
    """

    wide: Units
    narrow: Units
    logits: Units
    counts: Int[Array, " 2"]
    changed: Int[Array, " changed"]


@functools.lru_cache(maxsize=8)
def slots_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's `(layer, mlp, group, first sender)` by number, and its receivers by slot; the logits are the last."""
    place = {name: i for i, name in enumerate(graph.receivers)}
    shared, width = graph.heads // graph.kv_heads, graph.heads + graph.has_mlp
    units, slots = [], []
    for layer in range(graph.layers):
        first = len(graph.embeddings) + layer * width
        for group in range(graph.kv_heads):
            heads = range(group * shared, (group + 1) * shared)
            names = [f"{layer}.{h}.q" for h in heads] + [f"{layer}.{group}.{kind}" for kind in "kv"]
            names = names if graph.split_qkv else [f"{layer}.{group}"] * (shared + 2)
            units.append((layer, 0, group, first + group * shared))
            slots.append([place[name] for name in names])
        if graph.has_mlp:
            units.append((layer, 1, 0, first + graph.heads))
            slots.append([place[f"mlp{layer}"]] * (shared + 2))
    units.append((graph.layers, 0, 0, 0))
    slots.append([len(place) - 1] * (shared + 2))
    return np.asarray(units), np.asarray(slots)


def senders_in(graph: Graph, unit: int) -> np.ndarray:
    """The senders of a unit by number."""
    (_, mlp, _, first), shared = slots_of(graph)[0][unit], graph.heads // graph.kv_heads
    return np.arange(first, first + (1 if mlp else shared))


def needs(graph: Graph, kept: np.ndarray, narrowest: bool) -> tuple[np.ndarray, np.ndarray]:
    """How each sender, and each receiver, is needed along the kept edges: 0 not at all, 1 narrowly, 2 widely.

    Without `narrowest` all that is needed at all is needed widely.
    """
    units, slots = slots_of(graph)
    numbers = table(graph)
    live = (numbers >= 0) & kept[numbers]
    shared = graph.heads // graph.kv_heads
    sender, receiver = np.zeros(len(graph.senders), np.int8), np.zeros(len(graph.receivers), np.int8)
    least = 1 if narrowest else 2
    for i in reversed(range(len(units))):
        own = least if i == len(units) - 1 else sender[senders_in(graph, i)].max()
        rows = slots[i]
        if i == len(units) - 1 or units[i][1]:
            receiver[rows] = own
        elif own:
            # A query is read at its own position; keys and values at all of them.
            receiver[rows[:shared]] = np.maximum(receiver[rows[:shared]], own)
            receiver[rows[shared:]] = 2
        for row in np.unique(rows):
            sender[live[row]] = np.maximum(sender[live[row]], receiver[row])
    return sender, receiver


def live_edges(graph: Graph, receiver: np.ndarray) -> np.ndarray:
    """The edges into receivers that are needed."""
    return receiver[graph.pairs[:, 1]] > 0


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Which units run: their numbers, wide and narrow; which slots move; and which edges differ, `(receiver, sender)`."""

    wide: list[int]
    narrow: list[int]
    moves: np.ndarray
    differs: np.ndarray


def choose(graph: Graph, kept: np.ndarray, masks: np.ndarray, narrowest: bool) -> Chosen:
    """The units behind the edges in which masks differ from the known circuit."""
    units, slots = slots_of(graph)
    numbers = table(graph)
    sender, receiver = needs(graph, kept, narrowest)
    differs = (numbers >= 0) & (masks != kept).any(0)[numbers] & (receiver > 0)[:, None]
    live = (numbers >= 0) & kept[numbers]
    fresh, moved = differs.any(1), np.zeros(len(graph.senders), bool)
    moves = np.zeros(slots.shape, bool)
    found = Chosen([], [], moves, differs)
    for i in range(len(units) - 1):
        moves[i] = fresh[slots[i]] | live[slots[i]][:, moved].any(1)
        own = senders_in(graph, i)
        if moves[i].any() and sender[own].any():
            moved[own] = True
            (found.wide if sender[own].max() == 2 else found.narrow).append(i)
    moves[-1] = True
    return found


def plan(
    graph: Graph, kept: np.ndarray, masks: np.ndarray, found: Chosen, sizes: tuple[int, int, int]
) -> UnitPlan:
    """The chosen units, padded: how many wide and narrow ones, and how many senders of changed edges, at most."""
    room, narrow, changes = sizes
    units, slots = slots_of(graph)
    numbers = table(graph)
    shared, slot = graph.heads // graph.kv_heads, slots.shape[1]
    stands = np.full(len(graph.senders), -1)
    for first, part in ((0, found.wide), (room, found.narrow)):
        for i, unit in enumerate(part):
            own = senders_in(graph, unit)
            stands[own] = (first + i) * shared + np.arange(len(own))
    ran = np.flatnonzero(stands >= 0)
    changed = np.flatnonzero(found.differs.any(0))
    padded = np.zeros(changes, np.int32)
    padded[: len(changed)] = changed

    def padded_to(size: int, part: list[int]) -> Units:
        rows = np.zeros(size, int)
        rows[: len(part)] = part
        real = (np.arange(size) < len(part))[:, None, None]
        at = numbers[slots[rows]]  # (unit, slot, sender)
        exists = (at >= 0) & real
        less = np.zeros((size, len(masks), slot, changes), np.float32)
        into = at[:, :, changed]
        less[..., : len(changed)] = np.moveaxis((exists & kept[at])[:, :, changed] & ~masks[:, into], 0, 1)
        heard = np.zeros((size, slot, (room + narrow) * shared), np.float32)
        heard[:, :, stands[ran]] = (exists & kept[at])[:, :, ran]
        layer, mlp, group, first = units[rows].T.astype(np.int32)
        keep, cut = (exists & kept[at]).astype(np.float32), (exists & ~kept[at]).astype(np.float32)
        parts = (mlp.astype(bool), layer, group, first, found.moves[rows], keep, cut, less, heard)
        return Units(*(jnp.asarray(each) for each in parts))

    logits = padded_to(1, [len(units) - 1])
    counts = jnp.asarray([len(found.wide), len(found.narrow)], jnp.int32)
    return UnitPlan(
        padded_to(room, found.wide), padded_to(narrow, found.narrow), logits, counts, jnp.asarray(padded)
    )
