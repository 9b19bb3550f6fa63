r"""The edit that cuts edges: a receiver reads $x_v + \sum_u (1 - m_{uv})(u' - u)$.

$x_v$ is the residual stream of this run, in which all senders are whole. For each edge that is cut, what its
sender $u$ writes in this run is replaced by $u'$: what it writes in the other run, a mean, or zero. The state
that travels through the layers holds $u' - u$ of all senders so far.
"""

import functools
from collections.abc import Mapping
from typing import Any

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
    """

    cut: dict[str, Num[Array, "..."]]
    there: dict[str, Array] | None
    number: Int[Array, "*batch pos"] | None
    before: Float[Array, "sender *batch pos d"] | None
    graph: Graph = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    @property
    def sites(self) -> tuple[str, ...]:
        mlp = ("mlp_in", "mlp_out") if self.graph.has_mlp else ()
        pos = ("pos_embed",) if self.graph.learned_positions else ()
        return ("embed", *pos, "resid_pre", "q_in", "k_in", "v_in", "head_out", *mlp, "resid_post")

    def per_layer(self, shapes: Shapes) -> Any:
        def is_layered(path: Any, leaf: Array) -> bool:
            names = {getattr(entry, "key", None) for entry in path}
            return bool(names & {"q", "k", "v", "mlp", "head_out", "mlp_out"})

        return jax.tree_util.tree_map_with_path(is_layered, self)

    def init(self, shapes: Shapes, count: int) -> tuple[Array, Array]:
        stream = shapes["resid_pre"]
        *batch, pos, d = stream.shape
        wrote = jnp.zeros((len(self.graph.senders), *batch, pos, d), stream.dtype)
        if self.before is not None:
            wrote = self.before.astype(stream.dtype)
        return wrote, jnp.zeros((*batch, pos, self._slots, d), stream.dtype)

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
            return x, (wrote.at[row].add(self._differs(site, x)), change)
        if site == "head_out":
            rows = jnp.moveaxis(self._differs(site, x), -2, 0)
            return x, (lax.dynamic_update_slice_in_dim(wrote, rows, first + tap.layer * width, 0), change)
        if site == "mlp_out":
            rows = self._differs(site, x)[None]
            return x, (
                lax.dynamic_update_slice_in_dim(wrote, rows, first + tap.layer * width + heads, 0),
                change,
            )
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

    def _differs(self, site: str, x: Array) -> Array:
        """What the senders of a site write in the other run minus what they write here."""
        if self.there is None:
            return -x
        return jnp.broadcast_to(self.there[site], x.shape).astype(x.dtype) - x

    def _read(self, kind: str, wrote: Array) -> Array:
        return self._mixed(self.cut[kind][:, None], wrote)[..., 0, :]

    def _mixed(
        self, cut: Num[Array, "sender slot *pos"], wrote: Float[Array, "sender *batch pos d"]
    ) -> Array:
        """The change of the stream that each of some receivers reads, `(*batch, pos, slot, d)`."""
        cut = cut.astype(wrote.dtype)
        wide = accumulation_dtype(wrote)
        if cut.ndim == 2:
            return einsum("us,u...d->...sd", cut, wrote, dtype=wide).astype(wrote.dtype)
        if self.number is None:
            return einsum("usp,u...pd->...psd", cut, wrote, dtype=wide).astype(wrote.dtype)
        here = jnp.take(cut, self.number, axis=-1, mode="clip")  # (sender, slot, *batch, pos)
        return einsum("us...,u...d->...sd", here, wrote, dtype=wide).astype(wrote.dtype)


@functools.lru_cache(maxsize=16)
def layout(graph: Graph) -> Mapping[str, np.ndarray]:
    """Where the numbers of a mask go: `cut` of `EdgeMask` by kind, as numbers of edges; none is the last."""
    numbers = table(graph)
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
