"""Which edges a model has, laid out as chunks of equal shape for one compiled program."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arguments import as_list
from ..typing import SitesLike
from ._graph import Graph
from ._numbering import nodes_of

SENDERS = ("embed", "head", "mlp")
RECEIVERS = ("q", "k", "v", "mlp", "logits")


@dataclasses.dataclass(frozen=True)
class Wiring:
    """The nodes of a model, numbered.

    Senders: the embedding, heads by layer, then MLPs by layer. Receivers: slots of queries, keys,
    values and MLPs, each by layer; the logits are apart.
    """

    layers: int
    heads: int
    kv_heads: int
    has_mlp: bool
    parallel: bool
    senders: tuple[str, ...]
    receivers: tuple[str, ...]

    def sizes(self, kind: str) -> tuple[int, ...]:
        """The axes of the receivers (or senders) of a kind."""
        return {
            "embed": (),
            "head": (self.layers, self.heads),
            "q": (self.layers, self.heads),
            "k": (self.layers, self.kv_heads),
            "v": (self.layers, self.kv_heads),
            "mlp": (self.layers,),
            "logits": (),
        }[kind]

    def span(self, kind: str, kinds: Sequence[str]) -> slice:
        """Where a kind lies among the kinds that come one after the other."""
        start = 0
        for each in kinds:
            size = int(np.prod(self.sizes(each)))
            if each == kind:
                return slice(start, start + size)
            start += size
        raise KeyError(kind)

    @property
    def slots(self) -> int:
        return sum(int(np.prod(self.sizes(kind))) for kind in self.inner)

    @property
    def inner(self) -> tuple[str, ...]:
        """The kinds of receivers that lie in blocks."""
        return tuple(kind for kind in self.receivers if kind != "logits")

    def edges(self) -> list[tuple[int, int, int, int, int]]:
        """Every edge into a block: (layer, sender, kind, head, slot), sorted by layer and sender."""
        graph = Graph(self.layers, self.heads, self.kv_heads, self.has_mlp, self.parallel, False)
        nodes = nodes_of(graph)
        numbers = [self._sender(name) for name in nodes.senders]
        places = [self._receiver(name) for name in nodes.receivers]
        found = []
        for sender, receiver in graph.pairs.tolist():
            number, place = numbers[sender], places[receiver]
            if number is not None and place is not None:
                layer, *rest = place
                found.append((layer, number, *rest))
        return sorted(found)

    def _sender(self, name: str) -> int | None:
        """The number of a sender of the graph, if its kind is chosen."""
        kind = "embed" if name == "embed" else "mlp" if name.startswith("mlp") else "head"
        if kind not in self.senders:
            return None
        layer, _, head = name.removeprefix("mlp").partition(".")
        start = self.span(kind, self.senders).start
        if kind == "embed":
            return start
        return start + int(layer) * (self.heads if kind == "head" else 1) + int(head or 0)

    def _receiver(self, name: str) -> tuple[int, int, int, int] | None:
        """(layer, kind, head, slot) of a receiver of the graph, if its kind is chosen and lies in a block."""
        layer, head, kind = (name.removeprefix("mlp"), "0", "mlp") if name.startswith("mlp") else ("", "", "")
        if name.count(".") == 2:
            layer, head, kind = name.split(".")
        if kind not in self.inner:
            return None
        heads = 1 if kind == "mlp" else self.sizes(kind)[1]
        slot = self.span(kind, self.inner).start + int(layer) * heads + int(head)
        return int(layer), RECEIVERS.index(kind), int(head), slot


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Edges in chunks of one receiver layer each.

    `layer` (chunk,); `readers` (chunk, reader): senders whose effect on a whole block's queries, keys
    and values is computed once; per edge (chunk, edge): `sender`, `reader` (its place among the
    readers), `kind`, `head`, and `slot`, which is out of range where a chunk is not full.
    """

    layer: np.ndarray
    readers: np.ndarray
    sender: np.ndarray
    reader: np.ndarray
    kind: np.ndarray
    head: np.ndarray
    slot: np.ndarray


def chunked(wiring: Wiring, width: int, readers: int) -> Chunks:
    """Edges in their order, `width` to a chunk, of at most so many readers."""
    mlp = RECEIVERS.index("mlp")
    chunks: list[tuple[int, list[int], list[tuple[int, ...]]]] = []
    for layer, sender, kind, head, slot in wiring.edges():
        reads = kind != mlp
        last = chunks[-1] if chunks else None
        fits = last is not None and last[0] == layer and len(last[2]) < width
        if fits and reads and last is not None and sender not in last[1]:
            fits = len(last[1]) < readers
        if not fits or last is None:
            last = (layer, [], [])
            chunks.append(last)
        if reads and sender not in last[1]:
            last[1].append(sender)
        place = last[1].index(sender) if reads else 0
        last[2].append((sender, place, kind, head, slot))
    jobs = np.zeros((len(chunks), width, 5), np.int32)
    jobs[..., 2], jobs[..., 4] = mlp, wiring.slots
    read = np.zeros((len(chunks), readers), np.int32)
    for i, (_, senders, members) in enumerate(chunks):
        jobs[i, : len(members)] = members
        read[i, : len(senders)] = senders
    layers = np.asarray([layer for layer, _, _ in chunks], np.int32)
    return Chunks(layers, read, *(jobs[..., i] for i in range(5)))


def wiring(model_shapes: Mapping[str, Any], layers: int, senders: SitesLike, receivers: SitesLike) -> Wiring:
    """The nodes of a request, checked, of a model with these sites."""
    has_mlp = "mlp_in" in model_shapes
    chosen = []
    for kinds, known, what in ((senders, SENDERS, "senders"), (receivers, RECEIVERS, "receivers")):
        names = as_list(kinds, what, str(known))
        for name in names:
            if not isinstance(name, str) or name not in known:
                raise ValueError(
                    f"{what} are kinds of nodes, of {', '.join(known)}; got {name!r}. For single "
                    "nodes use ji.circuits.path_patch(..., senders=['0.1'], receivers=['1.3.k'])."
                )
        if not names:
            raise ValueError(f"{what} is empty; choose of {', '.join(known)}.")
        present = tuple(name for name in known if name in names and (has_mlp or name != "mlp"))
        chosen.append(present)
    return Wiring(
        layers,
        model_shapes["q"].shape[-2],
        model_shapes["k"].shape[-2],
        has_mlp,
        "resid_mid" not in model_shapes,
        chosen[0],
        chosen[1],
    )
