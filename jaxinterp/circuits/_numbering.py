"""Senders, receivers and edges of a graph by number, computed once for each graph."""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._graph import Graph


@dataclasses.dataclass(frozen=True)
class Nodes:
    """Senders and receivers with the stage at which each is computed or reads: 2 a block.

    The embeddings are written at stage -1, heads of layer l at 2l and its MLP at 2l + 1.
    """

    senders: tuple[str, ...]
    written: np.ndarray
    receivers: tuple[str, ...]
    read: np.ndarray


@functools.lru_cache(maxsize=64)
def nodes_of(graph: "Graph") -> Nodes:
    """Senders and receivers by name."""
    senders, written = list(graph.embeddings), [-1] * len(graph.embeddings)
    receivers: list[str] = []
    read: list[int] = []
    groups = {"q": graph.heads, "k": graph.kv_heads, "v": graph.kv_heads}
    for layer in range(graph.layers):
        if graph.split_qkv:
            receivers += [f"{layer}.{head}.{kind}" for kind, size in groups.items() for head in range(size)]
        else:
            receivers += [f"{layer}.{head}" for head in range(graph.kv_heads)]
        senders += [f"{layer}.{head}" for head in range(graph.heads)]
        written += [2 * layer] * graph.heads
        read += [2 * layer] * (len(receivers) - len(read))
        if graph.has_mlp:
            receivers.append(f"mlp{layer}")
            read.append(2 * layer if graph.parallel else 2 * layer + 1)
            senders.append(f"mlp{layer}")
            written.append(2 * layer + 1)
    receivers.append("logits")
    read.append(2 * graph.layers)
    return Nodes(tuple(senders), np.asarray(written), tuple(receivers), np.asarray(read))


@functools.lru_cache(maxsize=64)
def pairs_of(graph: "Graph") -> np.ndarray:
    """Sender and receiver of each edge, `(edge, 2)`, by receiver and then by sender."""
    nodes = nodes_of(graph)
    receiver, sender = np.nonzero(nodes.written[None] < nodes.read[:, None])
    return np.stack([sender, receiver], 1)


@functools.lru_cache(maxsize=8)
def places_of(graph: "Graph") -> dict[tuple[str, str], int]:
    """The number of each edge by the names of its ends."""
    nodes = nodes_of(graph)
    return {(nodes.senders[u], nodes.receivers[v]): i for i, (u, v) in enumerate(pairs_of(graph))}


@functools.lru_cache(maxsize=8)
def names_of(graph: "Graph") -> tuple[str, ...]:
    """Names of the edges, each at every position where the graph has these."""
    names = [f"{u}->{v}" for u, v in places_of(graph)]
    if graph.pos is None:
        return tuple(names)
    return tuple(f"{name}@{at}" for name in names for at in range(graph.pos))


@functools.lru_cache(maxsize=16)
def table(graph: "Graph") -> np.ndarray:
    """The number of the edge `(receiver, sender)`, or -1 where there is none; positions left out."""
    nodes, pairs = nodes_of(graph), pairs_of(graph)
    numbers = np.full((len(nodes.receivers), len(nodes.senders)), -1, np.int32)
    numbers[pairs[:, 1], pairs[:, 0]] = np.arange(len(pairs))
    return numbers


@functools.lru_cache(maxsize=16)
def feeds(graph: "Graph") -> np.ndarray:
    """Which senders compute with what a receiver reads: bools `(receiver, sender)`; the logits feed none."""
    owners = np.zeros((len(graph.receivers), len(graph.senders)), bool)
    place = {name: i for i, name in enumerate(graph.senders)}
    shared = graph.heads // graph.kv_heads
    for number, receiver in enumerate(graph.receivers[:-1]):
        layer, _, rest = receiver.partition(".")
        if not rest:
            owners[number, place[receiver]] = True
            continue
        head, _, kind = rest.partition(".")
        group = 1 if kind == "q" else shared
        for member in range(int(head) * group, (int(head) + 1) * group):
            owners[number, place[f"{layer}.{member}"]] = True
    return owners
