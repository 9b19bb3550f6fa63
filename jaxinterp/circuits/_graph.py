"""The graph of a model: which part reads what which part writes, through the residual stream."""

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_bool, as_int, as_list
from ..core._blocks import layer_count
from ..core._check import shown
from ..core._intervene import split_edits
from ..core._listing import survey
from ..typing import BoolLike, IntLike, LayerNeurons, ModelLike, SitesLike
from ._neurons import as_neurons
from ._numbering import names_of, nodes_of, pairs_of, places_of

if TYPE_CHECKING:
    from ._circuit import Circuit

EMBEDDINGS = ("embed", "pos_embed")


@dataclasses.dataclass(frozen=True)
class Graph:
    r"""Senders, receivers, and an edge $u \to v$ wherever $u$ is computed before $v$ reads.

    `ji.circuits.graph(model)` makes it. It holds sizes and no arrays, so models of one shape share compiled programs.

    - `layers`, `heads`, `kv_heads`: numbers of layers, of query heads, and of key/value heads.
    - `has_mlp`, `parallel`: whether blocks have an MLP, and whether it reads what attention reads.
    - `learned_positions`: whether positions have embeddings.
    - `embeddings`: the embeddings that are senders: `("embed",)` is the sum of all of them.
    - `split_qkv`: whether queries, keys and values of a head are receivers of their own.
    - `pos`: None, or the number of positions, each with edges of its own.
    - `neurons`: `(layer, indices)` of the MLPs whose neurons are senders.

    Senders are `"embed"`, `"pos_embed"`, `"0.1"` (layer.head) and `"mlp3"`. Receivers are `"1.3.q"`,
    `"1.3.k"`, `"1.3.v"`, `"mlp4"` and `"logits"`. Keys and values are numbered by key/value head. An edge is
    written `"0.1->1.3.k"`. With positions, `"0.1->1.3.k@5"` is the edge into position 5 of the receiver. With neurons
    of layer 3 its MLP is several senders: `"mlp3.n17"` is neuron 17, and `"mlp3.rest"` the rest of the output of the
    MLP. The name `"mlp3->logits"` then stands for the edges of all of these senders.

    ```python
    g = ji.circuits.graph(model)
    len(g.senders), len(g.receivers), g.size
    circuit = g.full() & ~g.mask(["0.1->logits"])
    ```
    """

    layers: int
    heads: int
    kv_heads: int
    has_mlp: bool
    parallel: bool
    learned_positions: bool
    embeddings: tuple[str, ...] = ("embed",)
    split_qkv: bool = True
    pos: int | None = None
    neurons: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def senders(self) -> tuple[str, ...]:
        """Names of the senders, in the order in which they are computed."""
        return nodes_of(self).senders

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers, in the order in which they read."""
        return nodes_of(self).receivers

    @property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges, in the order of a mask: by receiver, then by sender, then by position."""
        return names_of(self)

    @property
    def pairs(self) -> np.ndarray:
        """The sender and the receiver of every edge by number, `(edge, 2)`, without the axis of positions."""
        return pairs_of(self)

    @property
    def size(self) -> int:
        """How many edges there are: the length of a mask."""
        return len(self.pairs) * (self.pos or 1)

    def full(self) -> "Circuit":
        """The whole model: every edge is kept."""
        return _circuit(jnp.ones(self.size, bool), self)

    def empty(self) -> "Circuit":
        """The circuit without edges: every receiver reads the corrupt run."""
        return _circuit(jnp.zeros(self.size, bool), self)

    def mask(self, edges: SitesLike) -> "Circuit":
        """The circuit of the named edges: `g.mask(["embed->0.1.q", "0.1->logits"])`.

        With positions a name without `@` stands for the edge at every position. With neurons `"mlp3->logits"` stands
        for the edges of all parts of the MLP.

        **Raises:** ValueError for a name that is no edge, with names that are.
        """
        kept = np.zeros(self.size, bool)
        for name in as_list(edges, "edges", "['0.1->1.3.k', 'embed->mlp0']"):
            kept[self.find(name)] = True
        return _circuit(jnp.asarray(kept), self)

    def find(self, edge: str) -> np.ndarray:
        """Where an edge stands in a mask: one place, or one for each position and each part of an MLP."""
        name, _, at = edge.partition("@") if isinstance(edge, str) else ("", "", "")
        sender, arrow, receiver = (part.strip() for part in name.partition("->"))
        pairs = places_of(self, sender, receiver)
        if not arrow or not pairs.size:
            raise ValueError(self._unknown(edge, sender, receiver))
        if not at:
            return (pairs[:, None] * (self.pos or 1) + np.arange(self.pos or 1)).ravel()
        if self.pos is None or not at.isdecimal() or int(at) >= self.pos:
            given = "no positions" if self.pos is None else f"positions 0 to {self.pos - 1}"
            raise ValueError(
                f"{edge!r}: this graph has {given}. Make it with ji.circuits.graph(model, pos=...)."
            )
        return pairs * self.pos + int(at)

    def _unknown(self, edge: Any, sender: str, receiver: str) -> str:
        rule = f"An edge is written 'sender->receiver', such as {self.edges[0]!r} or {self.edges[-1]!r}"
        if sender not in self.senders and not places_of(self, sender, "logits").size:
            few = ", ".join(self.senders[:4])
            neuron = re.fullmatch(r"mlp(\d+)\.(?:n(\d+)|rest)", sender)
            hint = (
                f" Neurons are senders where a graph has them: ji.circuits.graph(model, neurons={{{neuron[1]}: "
                f"[{neuron[2] or 0}]}})."
                if neuron
                else ""
            )
            return f"{rule}; got {shown(edge)}. The senders of this graph are {few}, ... {self.senders[-1]}.{hint}"
        if receiver not in self.receivers:
            few = ", ".join(self.receivers[:4])
            hint = self._head(receiver)
            return f"{rule}; got {shown(edge)}. Its receivers are {few}, ... {self.receivers[-1]}.{hint}"
        return f"There is no edge {edge!r}: {receiver} reads before {sender} is computed" + (
            " (in parallel blocks an MLP does not read the heads beside it)." if self.parallel else "."
        )

    def _head(self, receiver: str) -> str:
        """What receiver was meant by the name of a head that exists, and that is no receiver."""
        found = re.fullmatch(r"(\d+)\.(\d+)(?:\.([qkv]))?", receiver)
        if not found or int(found[1]) >= self.layers or int(found[2]) >= self.heads:
            return ""
        head = f"{found[1]}.{int(found[2]) * self.kv_heads // self.heads}"
        if self.split_qkv and found[3]:
            return f" Heads that share keys and values read them as one: here {receiver!r} is '{head}.{found[3]}'."
        if self.split_qkv:
            parts = f"'{receiver}.q', '{head}.k' and '{head}.v'"
            return f" A head reads as {parts}; with split_qkv=False it is one receiver."
        return f" With split_qkv=False a head is one receiver: here {head!r}."

    def __repr__(self) -> str:
        count = f"{len(self.senders)} senders, {len(self.receivers)} receivers, {self.size:,} edges"
        return f"Graph({count}" + (")" if self.pos is None else f", {self.pos} positions)")


def _circuit(mask: jax.Array, graph: Graph) -> "Circuit":
    from ._circuit import Circuit  # a circuit knows its graph

    return Circuit(mask, graph)


def graph(
    model: ModelLike,
    *,
    split_embed: BoolLike = False,
    split_qkv: BoolLike = True,
    pos: IntLike | None = None,
    neurons: LayerNeurons | None = None,
) -> Graph:
    r"""$E = \{u \to v : u \text{ is computed before } v \text{ reads}\}$: every edge of a model.

    The residual stream that a receiver reads is the sum of what all earlier senders write, so each sender
    has an edge to each later receiver. Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html), Conmy et al. 2023
    (https://arxiv.org/abs/2304.14997).

    **Arguments:**

    - `model`: without edits of its own.
    - `split_embed`: token and position embeddings are senders of their own; by default `"embed"` is their
      sum.
    - `split_qkv`: queries, keys and values of a head are receivers of their own; True by default. With
      False a head is one receiver. Heads that share keys and values are then one receiver, named by
      its key/value head.
    - `pos`: a number of positions. Each edge then has a part for each position at which its receiver reads.
    - `neurons`: layers whose neurons are senders, `[0, 3]`, or chosen neurons by layer, `{3: [17, 21]}`. What an MLP
      writes is the sum over its neurons of `mlp_post` times a row of `w_out`. Such an MLP stays one
      receiver, since all of its neurons read one stream through one norm. Nodes of this kind are those of
      AtP*, Kramár et al. 2024 (https://arxiv.org/abs/2403.00745).

    **Returns:** a `Graph`. In parallel blocks a head has no edge to the MLP beside it.

    ```python
    g = ji.circuits.graph(model)
    len(g.edges), g.edges[:3]
    circuit = g.mask(["embed->0.1.v", "0.1->logits"])
    ```

    **Raises:** ValueError for a model with edits; and for neurons that the model does not have, or whose blocks are not
    those of `ji.models`.

    Laws: GPT-2 small has 32,491 edges, Pythia-160M 32,347, Pythia-70M 3,580. Cutting all edges of a neuron is
    patching its `mlp_post`; cutting those of all parts of an MLP is cutting the MLP.
    """
    base, own = split_edits(model)
    if own:
        raise ValueError(
            f"A graph is that of a model without edits; this one carries {len(own)} of ji.intervene. Give the "
            "model that was intervened on: its edges are the same."
        )
    shapes = survey(base, jax.ShapeDtypeStruct((1, 2), jnp.int32))
    learned = "pos_embed" in shapes
    split = as_bool(split_embed, "split_embed") and learned
    return Graph(
        layer_count(base),
        shapes["q"].shape[-2],
        shapes["k"].shape[-2],
        "mlp_in" in shapes,
        "resid_mid" not in shapes and "mlp_in" in shapes,
        learned,
        EMBEDDINGS if split else EMBEDDINGS[:1],
        as_bool(split_qkv, "split_qkv"),
        None if pos is None else as_int(pos, "pos, the number of positions of the prompts,", 1),
        as_neurons(neurons, base, shapes),
    )
