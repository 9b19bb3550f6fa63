"""The metric of many circuits of one experiment, for completeness and minimality."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ._circuit import as_circuit, check_known
from ._evaluate import faithful_gap
from ._graph import Graph
from ._graph import graph as graph_of
from ._numbering import numbers_of
from ._run import at_once, experiment, read_count, values
from ._select import check_path


class Judge:
    """The metric of masks of one experiment, on the host."""

    def __init__(
        self,
        model: Any,
        circuit: Any,
        clean: Any,
        corrupt: Any,
        metric: Any,
        ablate: str,
        mask: Any,
        max_bytes: Any,
    ) -> None:
        found = check_path(as_circuit(circuit, graph_of(model)))
        self.kept, self.graph = found._one().kept, found.graph
        self.setup, pair = experiment(model, clean, corrupt, self.graph, ablate=ablate, mask=mask)
        self.metric = pair.metric(metric)
        check_known("What is judged", self.setup, self.metric)
        self.count = at_once(pair, self.graph, read_count(pair, self.metric.pos), max_bytes)
        whole, none = self(np.stack([np.ones(self.graph.size, bool), np.zeros(self.graph.size, bool)]))
        self.gap = faithful_gap(float(whole), float(none))

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """The mean metric of each mask `(n, edge)`."""
        n = len(masks)
        # A few sizes of batches, so that few programs are compiled.
        room = 1 << max(n - 1, 0).bit_length()
        masks = np.concatenate([masks, np.broadcast_to(masks[-1:], (room - n, masks.shape[1]))])
        found = values(self.setup, jnp.asarray(masks, jnp.float32), self.metric, self.count)
        return np.asarray(found, np.float64).reshape(room, -1).mean(1)[:n]

    def without(self, mask: np.ndarray, nodes: Sequence[str]) -> np.ndarray:
        """A mask without what the nodes send."""
        return mask & ~sent_by(self.graph, nodes)


def sent_by(graph: Graph, nodes: Sequence[str]) -> np.ndarray:
    """Which edges the nodes send along."""
    senders, _ = numbers_of(graph)
    nodes = list(nodes)
    unknown = [node for node in nodes if node not in senders]
    if unknown:
        raise ValueError(
            f"Nodes are senders of the graph, such as {graph.senders[0]!r} or {graph.senders[-1]!r}; got {unknown[0]!r}."
        )
    chosen = np.zeros(len(graph.senders), bool)
    for node in nodes:
        chosen[senders[node]] = True
    return np.repeat(chosen[graph.pairs[:, 0]], graph.pos or 1)
