"""Circuits from scores: the strongest edges, those that lead to the logits, and what dangles cut off."""

import heapq
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from .._arguments import as_bool, as_int, check_choice, concrete, kind_of
from ..typing import ArrayLike, BoolLike, IntLike, StrLike
from ._circuit import Circuit, check_known
from ._graph import Graph
from ._numbering import feeds, nodes_of

HOW = ("top", "greedy")


@runtime_checkable
class EdgeScores(Protocol):
    """What `select` reads: a number for each edge of a graph, such as `ji.circuits.Scores`."""

    @property
    def values(self) -> ArrayLike: ...

    @property
    def graph(self) -> Graph: ...


def select(
    scores: EdgeScores,
    *,
    n: IntLike | tuple[int, ...] | list[int],
    how: StrLike = "top",
    absolute: BoolLike = True,
    pruned: BoolLike = True,
) -> Circuit:
    r"""$\{e : |s_e| \text{ is among the } n \text{ largest}\}$: a circuit from the scores of edges.

    Hanna et al. 2024 (https://arxiv.org/abs/2403.17806).

    **Arguments:**

    - `scores`: the result of `ji.circuits.eap`.
    - `n`: how many edges; several numbers give several circuits, `mask (len(n), edge)`.
    - `how`: `"top"` takes the edges with the largest scores. `"greedy"` starts from the logits. In each step it
      takes the largest edge into a node that is in the circuit already, so that each edge leads to the logits.
    - `absolute`: compares the magnitudes of scores; True by default. False compares the scores themselves, and takes
      first the edges that raise the metric when they are cut.
    - `pruned`: leaves out edges that are on no path from an embedding to the logits, so that a
      circuit may have fewer than `n` edges; True by default.

    **Returns:** a `Circuit`.

    **Raises:** ValueError for numbers of edges that the graph does not have, and for NaN scores.

    ```python
    scores = ji.circuits.eap(model, clean, corrupt, metric, steps=8)
    circuit = ji.circuits.select(scores, n=50, how="greedy")
    ```

    Laws: with all edges it is the full circuit; a greedy circuit is a part of every larger one; with
    `ablate="patch"` the pruning changes no logits.
    """
    check_choice(how, "how", HOW)
    check_scores(scores)
    check_known("ji.circuits.select", scores.values)
    graph, values = scores.graph, np.asarray(scores.values, np.float64)
    if values.shape != (graph.size,):
        raise ValueError(
            f"Scores are one number for each of the {graph.size:,} edges; got the shape {values.shape}."
        )
    several = isinstance(n, tuple | list | np.ndarray)
    counts = [as_int(count, "n", 0) for count in (n if several else [n])]  # pyright: ignore[reportGeneralTypeIssues]
    if not counts or max(counts) > graph.size:
        raise ValueError(f"n is from 0 to {graph.size:,}, the number of edges; got {n}.")
    rank = np.abs(values) if as_bool(absolute, "absolute") else values
    order = np.argsort(-rank, kind="stable") if how == "top" else greedy_order(rank, graph, max(counts))
    masks = np.zeros((len(counts), graph.size), bool)
    for row, count in enumerate(counts):
        masks[row, order[:count]] = True
    if as_bool(pruned, "pruned"):
        masks = np.stack([_joined(mask, graph) for mask in masks])
    return Circuit(jnp.asarray(masks if several else masks[0]), graph)


def check_scores(scores: Any) -> None:
    """Raises ValueError for what holds no scores of the edges of a graph, and for NaN."""
    if not isinstance(scores, EdgeScores):
        raise ValueError(
            "Scores are numbers with the graph of their edges, as ji.circuits.eap returns them; of an array make "
            f"ji.circuits.Scores(values, graph). Got {kind_of(scores)}."
        )
    if concrete(scores.values) and (count := int(np.isnan(np.asarray(scores.values, np.float64)).sum())):
        raise ValueError(f"Scores have an order, and {count:,} of these {np.size(scores.values):,} are NaN.")


def prune_dangling(circuit: Circuit) -> Circuit:
    r"""$\{u \to v \in C : \text{embedding} \leadsto u,\; v \leadsto \text{logits}\}$: the edges that are on a path.

    Other edges change nothing: an edge whose sender no embedding reaches carries the value of the corrupt prompts,
    and from an edge without a path to the logits nothing is read.

    **Arguments:** `circuit`: one circuit or several.

    **Returns:** a `Circuit` of bools.

    ```python
    ji.circuits.prune_dangling(graph.mask(["embed->0.1.v", "0.1->logits", "0.2->mlp1"])).edges  # the first two
    ```

    Law: with `ablate="patch"` the logits stay.
    """
    kept = circuit.kept.reshape(-1, circuit.graph.size)
    masks = np.stack([_joined(mask, circuit.graph) for mask in kept])
    return Circuit(jnp.asarray(masks.reshape(circuit.mask.shape)), circuit.graph)


def connected(mask: np.ndarray, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Which senders an embedding reaches, and which receivers reach the logits, along kept edges."""
    pairs, owners = graph.pairs, feeds(graph)
    kept = np.zeros((len(graph.receivers), len(graph.senders)), bool)
    here = mask.reshape(len(pairs), -1).any(1)
    kept[pairs[here, 1], pairs[here, 0]] = True
    written = nodes_of(graph).written
    stages = [np.flatnonzero(written == stage) for stage in np.unique(written)]
    reached = np.zeros(len(graph.senders), bool)
    reached[stages[0]] = True  # the embeddings
    for senders in stages[1:]:
        reading = kept[:, reached].any(1)
        reached[senders] = owners[reading][:, senders].any(0)
    leads = np.zeros(len(graph.receivers), bool)
    leads[-1] = True
    for senders in reversed(stages):
        sending = senders[kept[leads][:, senders].any(0)]
        leads |= owners[:, sending].any(1)
    return reached, leads


def check_path(circuit: Circuit) -> Circuit:
    """The circuit, if it is empty or joins an embedding to the logits.

    **Raises:** ValueError for one circuit without such a path. Several are not checked: sweeps and random circuits hold
    what leads nowhere. Nor are traced masks.
    """
    if circuit.mask.ndim != 1 or not concrete(circuit.mask):
        return circuit
    graph, kept = circuit.graph, np.asarray(circuit.mask) > 0
    if not kept.any():
        return circuit
    reached = connected(kept, graph)[0]
    pairs = graph.pairs[np.flatnonzero(kept) // (graph.pos or 1)]
    ends = pairs[:, 1] == len(graph.receivers) - 1
    if (ends & reached[pairs[:, 0]]).any():
        return circuit
    embed = graph.embeddings[0]
    if not ends.any():
        missing = f"none of its edges ends there, as {graph.senders[pairs[-1, 0]]}->logits does"
    else:
        last = pairs[ends][0, 0]
        into = graph.receivers[np.flatnonzero(feeds(graph)[:, last])[0]]
        name = graph.senders[last]
        missing = f"{name}->logits is one of its edges, and none leads to {name}, as {embed}->{into} does"
    raise ValueError(
        f"This circuit of {int(kept.sum()):,} edges has no path from {embed} to the logits, so the clean prompts change "
        f"nothing: {missing}. Add the missing edges, or give graph.empty() for the corrupt run. "
        "(ji.circuits.prune_dangling(circuit) leaves no edge of this one. Several circuits at once are not checked.)"
    )


def _joined(mask: np.ndarray, graph: Graph) -> np.ndarray:
    reached, leads = connected(mask, graph)
    on_path = reached[graph.pairs[:, 0]] & leads[graph.pairs[:, 1]]
    return mask & np.repeat(on_path, graph.pos or 1)


def greedy_order(rank: np.ndarray, graph: Graph, count: int) -> np.ndarray:
    """Edges in the order in which they are taken."""
    pairs, owners, pos = graph.pairs, feeds(graph), graph.pos or 1
    start = np.searchsorted(pairs[:, 1], np.arange(len(graph.receivers) + 1)) * pos
    heap: list[tuple[float, int]] = []
    known = np.zeros(len(graph.receivers), bool)

    def add(receiver: int) -> None:
        if not known[receiver]:
            known[receiver] = True
            for edge in range(start[receiver], start[receiver + 1]):
                heapq.heappush(heap, (-rank[edge], edge))

    add(len(graph.receivers) - 1)
    taken: list[int] = []
    while heap and len(taken) < count:
        _, edge = heapq.heappop(heap)
        taken.append(edge)
        for receiver in np.flatnonzero(owners[:, pairs[edge // pos, 0]]):
            add(int(receiver))
    return np.asarray(taken, int)
