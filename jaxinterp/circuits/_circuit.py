"""A circuit: a mask over the edges of a graph."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Shaped

from .._arguments import as_numbers, concrete, kind_of
from .._tabular import Record, Tabular
from .._text import shown
from ..typing import ArrayLike, IntLike, StrLike
from ._graph import Graph
from ._numbering import feeds, is_neuron

if TYPE_CHECKING:
    from ..viz import Figure


class Circuit(Tabular, eqx.Module):
    r"""$m : E \to [0, 1]$: 1 keeps an edge, and 0 cuts it.

    A cut edge carries what its sender writes in the other run.

    - `mask` `(*n, edge)`: bools, or numbers from 0 to 1; leading axes hold several circuits.
    - `graph`: the `Graph` whose edges the mask counts.

    `Graph.full`, `.empty` and `.mask` make a circuit, and so do the functions that find circuits. The mask is a
    leaf, so `jax.vmap` and `jax.grad` go through a circuit. `a & b`, `a | b` and `~a` act edge by edge.

    ```python
    circuit = g.mask(["embed->0.1.v", "0.1->logits"])
    len(circuit), circuit.edges, "0.1->logits" in circuit
    ```
    """

    mask: Shaped[Array, "*n edge"]
    graph: Graph = eqx.field(static=True)

    def records(self) -> list[Record]:
        """A row for each kept edge of one circuit: `edge`, its `sender` and its `receiver`."""
        pairs = [edge.partition("@")[0].partition("->") for edge in self.edges]
        return [
            {"edge": edge, "sender": sender, "receiver": receiver}
            for edge, (sender, _, receiver) in zip(self.edges, pairs, strict=True)
        ]

    @property
    def kept(self) -> np.ndarray:
        """True at the edges that are kept, those with a number above 0.5; bools of NumPy."""
        check_known("What edges a circuit keeps", self.mask)
        return np.asarray(self.mask) > 0.5

    @property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges that are kept, of one circuit."""
        names = self.graph.edges
        return tuple(names[i] for i in np.flatnonzero(self._one().kept))

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the embeddings, heads and MLPs that send or receive along a kept edge, and the logits.

        An edge into shared keys or values counts for all heads that share them, and one into an MLP whose neurons
        are senders for its rest.
        """
        pairs = self.graph.pairs[np.flatnonzero(self._one().kept) // (self.graph.pos or 1)]
        used = feeds(self.graph)[np.unique(pairs[:, 1])].any(0) & ~is_neuron(self.graph)
        used[pairs[:, 0]] = True
        reached = pairs.size and pairs[:, 1].max() == len(self.graph.receivers) - 1
        return (*np.asarray(self.graph.senders)[used].tolist(), *["logits"] * bool(reached))

    def figure(self, *, top: IntLike = 200, how: StrLike = "graph") -> "Figure":
        """The circuit as a layered graph, or as a matrix of edges; see `ji.circuits.figure`."""
        from ._drawing import figure

        return figure(self, top=top, how=how)

    def __len__(self) -> int:
        return int(self._one().kept.sum())

    def __contains__(self, edge: str) -> bool:
        return bool(self._one().kept[self.graph.find(edge)].all())

    def __and__(self, other: "Circuit") -> "Circuit":
        return Circuit(jnp.minimum(*_alike(self, other)), self.graph)

    def __or__(self, other: "Circuit") -> "Circuit":
        return Circuit(jnp.maximum(*_alike(self, other)), self.graph)

    def __invert__(self) -> "Circuit":
        flipped = ~self.mask if self.mask.dtype == bool else 1 - self.mask
        return Circuit(flipped, self.graph)

    def _one(self) -> "Circuit":
        if self.mask.ndim != 1:
            raise ValueError(
                f"This holds circuits of the shape {self.mask.shape[:-1]}; take one of them first: "
                "ji.circuits.Circuit(circuits.mask[0], circuits.graph)."
            )
        return self

    def __repr__(self) -> str:
        if not concrete(self.mask) or self.mask.ndim != 1:
            return f"Circuit(mask{list(self.mask.shape)}, {self.graph})"
        return f"Circuit({len(self):,} of {self.graph.size:,} edges)"


def as_circuit(circuit: "Circuit | ArrayLike", graph: Graph) -> Circuit:
    """A circuit, or a mask `(*n, edge)` of the graph of a model.

    **Raises:** ValueError for a mask of another length, and for a circuit of another model's graph.
    """
    if isinstance(circuit, Circuit):
        graph, mask = check_graph(circuit.graph, graph), circuit.mask
    elif _names(circuit):
        raise ValueError(
            f"Edges by name make a circuit of a graph: ji.circuits.graph(model).mask({shown(circuit)})."
        )
    else:
        mask = jnp.asarray(as_numbers(circuit, "A mask of edges"))
    if mask.shape[-1:] != (graph.size,):
        raise ValueError(
            f"A mask has one number for each edge of the graph, {graph.size:,}; got the shape {mask.shape}. "
            "Make one with ji.circuits.graph(model).mask(['embed->logits']); of a graph with other options give "
            "a Circuit, which knows its graph."
        )
    if concrete(mask) and not np.isfinite(np.asarray(mask, np.float32)).all():
        raise ValueError(
            "A mask has numbers from 0, a cut edge, to 1, a kept one; this one holds NaN or inf."
        )
    return Circuit(mask, graph)


def check_known(what: str, *values: Any) -> None:
    """Raises ValueError where a part of `values` is traced: edges are chosen on the host."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values)):
        raise ValueError(
            f"{what} depends on values, and some are traced. Call it outside of jit, vmap and grad; "
            "ji.circuits.run and ji.circuits.eap work inside."
        )


def check_graph(given: Any, own: Graph) -> Graph:
    """The given graph, if it is one of the model whose graph without options is `own`; otherwise an error."""
    if not isinstance(given, Graph):
        raise ValueError(f"A graph is made by ji.circuits.graph(model); got {kind_of(given)}.")
    pairs = [
        (graph.layers, graph.heads, graph.kv_heads, graph.has_mlp, graph.parallel) for graph in (given, own)
    ]
    if pairs[0] != pairs[1]:
        raise ValueError(
            f"The circuit is of another model: its graph has {given}, that of this model {own}. Name its "
            "edges again: ji.circuits.graph(model).mask(circuit.edges)."
        )
    if "pos_embed" in given.embeddings and not own.learned_positions:
        raise ValueError(
            "The graph has a sender 'pos_embed', and this model has no learned positions. Make it of this model: "
            "ji.circuits.graph(model)."
        )
    return given


def _names(value: Any) -> bool:
    """Whether these are names of edges, and not numbers."""
    several = [value] if isinstance(value, str) else value
    return isinstance(several, list | tuple | set) and any(isinstance(each, str) for each in several)


def _alike(a: Circuit, b: Any) -> tuple[Array, Array]:
    if not isinstance(b, Circuit) or a.graph != b.graph:
        raise ValueError(
            f"Both are circuits of one graph; got {a} and {b if isinstance(b, Circuit) else kind_of(b)}."
        )
    return a.mask, b.mask
