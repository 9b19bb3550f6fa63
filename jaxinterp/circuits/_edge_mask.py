r"""The edit that cuts edges: a receiver reads $x_v + \sum_u (1 - m_{uv})(u' - u)$.

$x_v$ is the residual stream of this run, in which all senders are whole. For each edge that is cut, what its
sender $u$ writes in this run is replaced by $u'$: what it writes in the other run, a mean, or zero. The state
that travels through the layers holds $u' - u$ of all senders so far.
"""

import functools
from collections.abc import Mapping
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num, Shaped

from ..core._check import Shapes
from ..core._edit import Edit
from ..core._select import Layers
from ..nn._linear import accumulation_dtype, einsum
from ._graph import Graph
from ._neurons import read_at, row_at, rows_of, units_of, vector_count, written
from ._numbering import table

SENDING = ("embed", "pos_embed", "head_out", "mlp_out")
"Sites where senders write."
READING = ("q", "k", "v", "mlp")


class EdgeMask(Edit):
    """Cuts edges of the graph of a model.

    - `cut`: $1 - m$ by kind of receiver: `q`, `k`, `v` `(layer, sender, head, *pos)`, `mlp` `(layer, sender, *pos)`,
      and `logits` `(sender, *pos)`; `*pos` is absent, or one number for each position.
    - `there`: what senders write in the other run, by site; None stands for zero.
    - `number`: of each position of the prompts its number among those of the graph, or None.
    - `before`: $u' - u$ of the senders before a run that resumes, or None.
    - `out`: what neurons that are senders write where they are 1, `(row, neuron, d)`, or None; see `_neurons`.

    Senders are in the order of `rows_of`: those that write vectors, then the rows of neurons. So is the state:
    vectors, and a number for each neuron.
    """

    cut: dict[str, Num[Array, "..."]]
    there: dict[str, Array] | None
    number: Int[Array, "*batch pos"] | None
    before: "Changes | None"
    out: Float[Array, "row neuron d"] | None
    graph: Graph = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    @property
    def sites(self) -> tuple[str, ...]:
        mlp = ("mlp_in", "mlp_post", "mlp_out") if self.graph.neurons else ("mlp_in", "mlp_out")
        mlp = mlp if self.graph.has_mlp else ()
        pos = ("pos_embed",) if self.graph.learned_positions else ()
        return ("embed", *pos, "resid_pre", "q_in", "k_in", "v_in", "head_out", *mlp, "resid_post")

    def per_layer(self, shapes: Shapes) -> Any:
        def is_layered(path: Any, leaf: Array) -> bool:
            names = {getattr(entry, "key", None) for entry in path}
            return bool(names & {"q", "k", "v", "mlp", "head_out", "mlp_post", "mlp_out"})

        return jax.tree_util.tree_map_with_path(is_layered, self)

    def init(self, shapes: Shapes, count: int) -> tuple["Changes", Array]:
        stream = shapes["resid_pre"]
        *batch, pos, d = stream.shape
        change = jnp.zeros((*batch, pos, self._slots, d), stream.dtype)
        if self.before is not None:
            return jax.tree.map(lambda leaf: leaf.astype(stream.dtype), self.before), change
        vectors = jnp.zeros((vector_count(self.graph), *batch, pos, d), stream.dtype)
        rows = units_of(self.graph)[1].shape
        fired = jnp.zeros((*rows, *batch, pos), stream.dtype) if self.graph.neurons else None
        return Changes(vectors, fired), change

    @property
    def _slots(self) -> int:
        """Receivers that read the stream that enters a block."""
        return self.graph.heads + 2 * self.graph.kv_heads + (self.graph.has_mlp and self.graph.parallel)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        wrote, change = state
        heads, kv_heads = self.graph.heads, self.graph.kv_heads
        first = len(self.graph.embeddings)
        width = heads + self.graph.has_mlp
        if site in ("embed", "pos_embed"):
            row = self.graph.embeddings.index(site) if site in self.graph.embeddings else 0
            return x, (Changes(wrote.vectors.at[row].add(self._differs(site, x)), wrote.neurons), change)
        if site == "head_out":
            rows = jnp.moveaxis(self._differs(site, x), -2, 0)
            return x, (wrote.with_vectors(rows, first + tap.layer * width), change)
        if site == "mlp_post":
            return x, (self._fired(tap.layer, x, wrote), change)
        if site == "mlp_out":
            differs = self._differs(site, x)
            if self.out is not None:
                row, here = row_at(tap.layer, self.graph)
                one = lambda stack: lax.dynamic_index_in_dim(stack, row, keepdims=False)
                differs = differs - jnp.where(here, written(one(wrote.neurons), one(self.out)), 0)
            return x, (wrote.with_vectors(differs[None], first + tap.layer * width + heads), change)
        if site == "resid_pre":
            kinds = READING if self.graph.parallel else READING[:3]
            cuts = [self.cut[kind] for kind in kinds if kind in self.cut]
            alike = [cut if kind != "mlp" else cut[:, None] for kind, cut in zip(kinds, cuts, strict=False)]
            return x, (wrote, self._mixed(jnp.concatenate(alike, 1), wrote))
        if site == "resid_post":
            last = jnp.asarray(tap.layer == self.graph.layers - 1)
            return lax.cond(last, lambda: x + self._read("logits", wrote), lambda: x), state
        if site == "mlp_in":
            return x + (change[..., -1, :] if self.graph.parallel else self._read("mlp", wrote)), state
        start = {"q_in": 0, "k_in": heads, "v_in": heads + kv_heads}[site]
        return x + change[..., start : start + x.shape[-2], :], state

    def _fired(self, layer: Any, x: Array, wrote: "Changes") -> "Changes":
        """With the neurons of a layer, if it has some."""
        row, here = row_at(layer, self.graph)
        fired = cast(Array, wrote.neurons)
        was = lax.dynamic_index_in_dim(fired, row, keepdims=False)
        own = jnp.where(here, read_at(layer, self._differs("mlp_post", x), self.graph), was)
        return Changes(wrote.vectors, lax.dynamic_update_index_in_dim(fired, own, row, 0))

    def _differs(self, site: str, x: Array) -> Array:
        """What the senders of a site write in the other run minus what they write here."""
        if self.there is None:
            return -x
        return jnp.broadcast_to(self.there[site], x.shape).astype(x.dtype) - x

    def _read(self, kind: str, wrote: "Changes") -> Array:
        return self._mixed(self.cut[kind][:, None], wrote)[..., 0, :]

    def _mixed(self, cut: Num[Array, "sender slot *pos"], wrote: "Changes") -> Float[Array, "..."]:
        """The change of the stream that each of several receivers reads, `(*batch, pos, slot, d)`."""
        dtype = wrote.vectors.dtype
        wide = accumulation_dtype(wrote.vectors)
        cut = cut.astype(dtype)
        if cut.ndim == 3 and self.number is not None:
            cut = jnp.take(cut, self.number, axis=-1, mode="clip")  # (sender, slot, *batch, pos)
        axes = {2: "us", 3: "usp"}.get(cut.ndim, "us...p")
        vectors, neurons = jnp.split(cut, [len(wrote.vectors)])
        found = einsum(f"{axes},u...pd->...psd", vectors, wrote.vectors, dtype=wide)
        if wrote.neurons is None or self.out is None:
            return found.astype(dtype)
        rows = neurons.reshape(*wrote.neurons.shape[:2], *cut.shape[1:])

        def add(total: Array, row: Any) -> tuple[Array, None]:
            cut, fired, out = row
            scaled = einsum(f"{axes},u...p->s...pu", cut, fired)
            return total + einsum("s...pu,ud->...psd", scaled, out.astype(dtype), dtype=wide), None

        return lax.scan(add, found, (rows, wrote.neurons, self.out))[0].astype(dtype)


class Changes(eqx.Module):
    """$u' - u$ of all senders so far: vectors, and of neurons the numbers by which they differ."""

    vectors: Float[Array, "sender *batch pos d"]
    neurons: Float[Array, "row neuron *batch pos"] | None

    def with_vectors(self, rows: Array, start: Any) -> "Changes":
        """With other vectors from a sender on."""
        return Changes(lax.dynamic_update_slice_in_dim(self.vectors, rows, start, 0), self.neurons)


@functools.lru_cache(maxsize=16)
def layout(graph: Graph) -> Mapping[str, np.ndarray]:
    """Where the numbers of a mask go: `cut` of `EdgeMask` by kind, as numbers of edges; none is the last."""
    order = rows_of(graph)
    numbers = np.where(order < 0, -1, table(graph)[:, order])
    places = {name: i for i, name in enumerate(graph.receivers)}
    sizes = {"q": graph.heads, "k": graph.kv_heads, "v": graph.kv_heads}
    shared = graph.heads // graph.kv_heads
    found: dict[str, Any] = {}
    for kind, size in sizes.items():
        group = shared if kind == "q" else 1
        names = [
            [f"{layer}.{h}.{kind}" if graph.split_qkv else f"{layer}.{h // group}" for h in range(size)]
            for layer in range(graph.layers)
        ]
        rows = np.asarray([[places[name] for name in row] for row in names])
        found[kind] = np.moveaxis(numbers[rows], -1, 1)
    if graph.has_mlp:
        found["mlp"] = numbers[[places[f"mlp{layer}"] for layer in range(graph.layers)]]
    found["logits"] = numbers[places["logits"]]
    none = graph.size
    if graph.pos is None:
        return {kind: np.where(each < 0, none, each) for kind, each in found.items()}
    at = np.arange(graph.pos)
    return {
        kind: np.where(each[..., None] < 0, none, each[..., None] * graph.pos + at)
        for kind, each in found.items()
    }


def cuts(mask: Shaped[Array, " edge"], graph: Graph) -> dict[str, Num[Array, "..."]]:
    """`cut` of `EdgeMask` from a mask: 0 where an edge is kept, and where there is none."""
    dtype = mask.dtype if jnp.issubdtype(mask.dtype, jnp.floating) else jnp.float32
    padded = jnp.concatenate([1 - mask.astype(dtype), jnp.zeros(1, dtype)])
    return {kind: padded[jnp.asarray(each)] for kind, each in layout(graph).items()}
