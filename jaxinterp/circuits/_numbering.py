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
            parts = _parts(graph, layer)
            senders += parts
            written += [2 * layer + 1] * len(parts)
    receivers.append("logits")
    read.append(2 * graph.layers)
    return Nodes(tuple(senders), np.asarray(written), tuple(receivers), np.asarray(read))


def _parts(graph: "Graph", layer: int) -> list[str]:
    """The senders of an MLP: itself, or its chosen neurons behind the rest of it."""
    chosen = dict(graph.neurons).get(layer)
    if chosen is None:
        return [f"mlp{layer}"]
    return [f"mlp{layer}.rest", *(f"mlp{layer}.n{neuron}" for neuron in chosen)]


def node_of(sender: str) -> str:
    """The embedding, head or MLP that a sender is, or is a part of: `"mlp3"` of `"mlp3.n17"`."""
    return sender.partition(".")[0] if sender.startswith("mlp") else sender


@functools.lru_cache(maxsize=64)
def numbers_of(graph: "Graph") -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Senders and receivers by name. An MLP whose neurons are senders stands for all its parts."""
    nodes = nodes_of(graph)
    senders = {name: np.asarray([i]) for i, name in enumerate(nodes.senders)}
    for layer, _ in graph.neurons:
        senders[f"mlp{layer}"] = np.concatenate([senders[part] for part in _parts(graph, layer)])
    return senders, {name: i for i, name in enumerate(nodes.receivers)}


@functools.lru_cache(maxsize=64)
def pairs_of(graph: "Graph") -> np.ndarray:
    """Sender and receiver of each edge, `(edge, 2)`, by receiver and then by sender."""
    nodes = nodes_of(graph)
    receiver, sender = np.nonzero(nodes.written[None] < nodes.read[:, None])
    return np.stack([sender, receiver], 1)


@functools.lru_cache(maxsize=8)
def names_of(graph: "Graph") -> tuple[str, ...]:
    """Names of the edges, each at every position where the graph has these."""
    nodes = nodes_of(graph)
    names = [f"{nodes.senders[u]}->{nodes.receivers[v]}" for u, v in pairs_of(graph).tolist()]
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
    nodes, (place, _) = nodes_of(graph), numbers_of(graph)
    owners = np.zeros((len(nodes.receivers), len(nodes.senders)), bool)
    shared = graph.heads // graph.kv_heads
    for number, receiver in enumerate(nodes.receivers[:-1]):
        layer, _, rest = receiver.partition(".")
        if not rest:
            owners[number, place[receiver]] = True
            continue
        head, _, kind = rest.partition(".")
        group = 1 if kind == "q" else shared
        for member in range(int(head) * group, (int(head) + 1) * group):
            owners[number, place[f"{layer}.{member}"]] = True
    return owners


def places_of(graph: "Graph", sender: str, receiver: str) -> np.ndarray:
    """The numbers of an edge by the names of its ends: one, several from an MLP in parts, none for no edge."""
    senders, receivers = numbers_of(graph)
    if sender not in senders or receiver not in receivers:
        return np.zeros(0, int)
    found = table(graph)[receivers[receiver], senders[sender]]
    return found[found >= 0]


@functools.lru_cache(maxsize=16)
def is_neuron(graph: "Graph") -> np.ndarray:
    """Which senders are single neurons."""
    return np.asarray([name.startswith("mlp") and ".n" in name for name in nodes_of(graph).senders], bool)
