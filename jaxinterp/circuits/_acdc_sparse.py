r"""Circuits that differ from a known one in a few edges: only what lies behind these edges runs.

With $a_u$ what a sender writes in the known circuit minus what it writes in the clean run, and $c_u = u' - u$, a
receiver reads $x_v + \sum_u m_{uv} a_u + (1 - m_{uv}) c_u$, where $x_v$ is the clean stream. A unit is an MLP, or the
heads that share keys and values. Units behind a changed edge run in order of computation; all else stays.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..core._blocks import at_layer, context
from ..core._check import token_shape
from ..core._edit import Edit
from ..core._run import resume
from ..core._tap import Tap
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..nn import Attention, Block
from ..nn._linear import einsum
from ..patching._gradients import positions
from ._acdc_run import WholeRun
from ._edge_mask import Changes
from ._graph import Graph
from ._numbering import table
from ._run import Experiment


class HeadInputs(Edit):
    """What the queries, keys and values of some heads read; its state is what these heads write."""

    q_in: Array
    k_in: Array
    v_in: Array
    layers: Any = eqx.field(static=True, default=None)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("q_in", "k_in", "v_in", "head_out")

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        if site == "head_out":
            return x, x
        return getattr(self, site), state


class Units(eqx.Module):
    """The units that run, in order, with what they read; the last row is that of the logits.

    - `kind` (is it an MLP), `layer`, `group`, `row` (of its first sender), `fresh` (does an edge into it change): `(unit,)`.
    - `keep`, `cut` `(unit, slot, sender)`: the edges of the known circuit.
    - `less` `(unit, n, slot, sender)`: edges that are cut beyond these.
    - `heard` `(unit, slot, row)`: which of the units that run it reads.
    """

    kind: Any
    layer: Any
    group: Any
    row: Any
    fresh: Any
    keep: Any
    cut: Any
    less: Any
    heard: Any


@functools.lru_cache(maxsize=8)
def slots_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Of each unit `(layer, mlp, group)` by number, and its receivers by slot: queries, keys, values."""
    place = {name: i for i, name in enumerate(graph.receivers)}
    shared = graph.heads // graph.kv_heads
    units, slots = [], []
    for layer in range(graph.layers):
        for group in range(graph.kv_heads):
            heads = range(group * shared, (group + 1) * shared)
            names = [f"{layer}.{h}.q" for h in heads] + [f"{layer}.{group}.{kind}" for kind in "kv"]
            names = names if graph.split_qkv else [f"{layer}.{group}"] * (shared + 2)
            units.append((layer, 0, group))
            slots.append([place[name] for name in names])
        if graph.has_mlp:
            units.append((layer, 1, 0))
            slots.append([place[f"mlp{layer}"]] * (shared + 2))
    units.append((graph.layers, 0, 0))
    slots.append([len(place) - 1] * (shared + 2))
    return np.asarray(units), np.asarray(slots)


def behind(graph: Graph, kept: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Which units lie behind the edges in which masks differ from the known circuit."""
    units, slots = slots_of(graph)
    numbers = table(graph)
    there = numbers >= 0
    differs = there & (masks != kept).any(0)[numbers]
    live = there & kept[numbers]
    fresh, changed = differs.any(1), np.zeros(len(graph.senders), bool)
    active = np.zeros(len(units), bool)
    shared, width = graph.heads // graph.kv_heads, graph.heads + graph.has_mlp
    for i, (layer, mlp, group) in enumerate(units):
        active[i] = fresh[slots[i]].any() or live[slots[i]][:, changed].any()
        if active[i] and i < len(units) - 1:
            first = len(graph.embeddings) + layer * width + (graph.heads if mlp else group * shared)
            changed[first : first + (1 if mlp else shared)] = True
    return active


def plan(graph: Graph, kept: np.ndarray, masks: np.ndarray, active: np.ndarray, room: int) -> Units:
    """The units that run, padded to `room`, and the logits behind them."""
    units, slots = slots_of(graph)
    shared, width = graph.heads // graph.kv_heads, graph.heads + graph.has_mlp
    chosen = np.flatnonzero(active[:-1])
    count, senders = len(chosen), len(graph.senders)
    rows = np.concatenate([chosen, np.zeros(room - count, int), [len(units) - 1]])
    real = np.concatenate([np.ones(count, bool), np.zeros(room - count, bool), [True]])[:, None, None]
    numbers = table(graph)[slots[rows]]  # (unit, slot, sender)
    there = (numbers >= 0) & real
    layer, kind, group = units[rows].T
    row = len(graph.embeddings) + layer * width + np.where(kind, graph.heads, group * shared)
    row[-1] = 0
    # Where in the buffer each sender stands, if it runs.
    stands = np.full(senders, -1)
    for i in range(count):
        size = 1 if kind[i] else shared
        stands[row[i] : row[i] + size] = i * shared + np.arange(size)
    keep = (there & kept[numbers]).astype(np.float32)
    cut = (there & ~kept[numbers]).astype(np.float32)
    less = (there & (kept[numbers] & ~masks[:, numbers])).astype(np.float32)
    heard = np.zeros((room + 1, shared + 2, room * shared), np.float32)
    runs = np.flatnonzero(stands >= 0)
    heard[:, :, stands[runs]] = keep[:, :, runs]
    less = np.moveaxis(less, 0, 1)
    fresh = less.any((1, 2, 3))
    parts = (kind.astype(bool), layer, group, row, fresh, keep, cut, less, heard)
    return Units(*(jnp.asarray(x.astype(np.int32) if x.dtype == np.int64 else x) for x in parts))


@on_mesh
@eqx.filter_jit
def known_run(setup: Experiment, whole: WholeRun, kept: Bool[Array, " edge"], layer: Array) -> Array:
    """What the senders of a circuit that is whole before `layer` write, minus what they write in the clean run."""
    stream = lax.dynamic_index_in_dim(whole.streams, layer, keepdims=False)
    edit = setup.edit(kept, Changes(whole.differs, None))
    graph = setup.graph
    capture = ["head_out", "mlp_out"] if graph.has_mlp else ["head_out"]
    _, acts = resume(setup.model, stream, layer, edits=[edit], capture=capture, mask=setup.real, logits=False)
    blocks = jnp.moveaxis(acts["head_out"], -2, 1)
    if graph.has_mlp:
        blocks = jnp.concatenate([blocks, acts["mlp_out"][:, None]], 1)
    rows = blocks.reshape(-1, *blocks.shape[2:])
    first = len(graph.embeddings)
    ran = jnp.repeat(jnp.arange(graph.layers, dtype=jnp.int32) >= layer, graph.heads + graph.has_mlp)
    ran = ran.reshape(-1, *(1,) * (rows.ndim - 1))
    change = jnp.where(ran, rows - whole.wrote[first:], 0)
    return jnp.concatenate([jnp.zeros_like(whole.wrote[:first]), change])


@on_mesh
@eqx.filter_jit
def from_known(
    setup: Experiment, whole: WholeRun, change: Array, units: Units, count: Array, metric: Metric
) -> Float[Array, "n *batch"]:
    """The metric of circuits that cut some edges more than the known one."""
    graph, model = setup.graph, setup.model
    shared = graph.heads // graph.kv_heads
    _, ctx = context(model, token_shape(setup.tokens), setup.real)
    n, room = units.less.shape[1], units.layer.shape[0] - 1
    dtype = change.dtype

    def read(unit: Units, stream: Array, buffer: Array) -> Array:
        """What the slots of a unit read, `(n, slot, *batch, pos, d)`."""
        known = einsum("su,u...->s...", unit.keep.astype(dtype), change)
        known = known + einsum("su,u...->s...", unit.cut.astype(dtype), whole.differs)
        extra = lambda: einsum("nsu,u...->ns...", unit.less.astype(dtype), whole.differs - change)
        nothing = lambda: jnp.zeros((n, *known.shape), dtype)
        moved = einsum("sr,rn...->ns...", unit.heard.astype(dtype), buffer)
        return (stream[None] + known)[None] + moved + lax.cond(unit.fresh, extra, nothing)

    def heads(unit: Units, x: Array) -> Array:
        block = at_layer(model.blocks, unit.layer)
        attn = group_of(block.attn, unit.group, shared)
        kv = x[shared:, ..., None, :]
        edit = HeadInputs(q_in=jnp.moveaxis(x[:shared], 0, -2), k_in=kv[0], v_in=kv[1])
        tap: Any = Tap([edit], states=[None], layer=unit.layer, real=setup.real)
        attn(x[0], block.ln1, ctx.at(unit.layer), tap)
        return jnp.moveaxis(tap.states[0], -2, 0)

    def mlp(unit: Units, x: Array) -> Array:
        block = at_layer(model.blocks, unit.layer)
        out = block.mlp(x[0], block.ln2, Tap(layer=unit.layer, real=setup.real))
        return jnp.concatenate([out[None], jnp.zeros((shared - 1, *out.shape), out.dtype)])

    def step(i: Any, buffer: Array) -> Array:
        unit = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), units)
        take = lambda stack: lax.dynamic_index_in_dim(stack, unit.layer, keepdims=False)
        stream = jnp.where(unit.kind, take(whole.mids), take(whole.streams))
        x = read(unit, stream, buffer)
        attend = lambda x: jax.vmap(lambda one: heads(unit, one))(x)
        if graph.has_mlp:
            out = lax.cond(unit.kind, lambda x: jax.vmap(lambda one: mlp(unit, one))(x), attend, x)
        else:
            out = attend(x)
        was = lax.dynamic_slice_in_dim(here, unit.row, shared, 0)
        other = unit.kind & (jnp.arange(shared, dtype=jnp.int32) > 0).reshape(-1, *(1,) * (was.ndim - 1))
        moved = jnp.where(other[None], 0, out - was[None])
        return lax.dynamic_update_slice_in_dim(buffer, jnp.moveaxis(moved, 0, 1), i * shared, 0)

    here = jnp.concatenate([whole.wrote + change, jnp.zeros((shared, *change.shape[1:]), dtype)])
    buffer = jnp.zeros((room * shared, n, *change.shape[1:]), dtype)
    buffer = lax.fori_loop(0, count, step, buffer)
    last = jax.tree.map(lambda leaf: leaf[-1], units)
    last = dataclasses.replace(
        last, **{k: getattr(last, k)[..., :1, :] for k in ("keep", "cut", "less", "heard")}
    )
    x = read(last, whole.last, buffer)[:, 0]

    def measured(stream: Array) -> Array:
        out, _ = resume(model, stream, graph.layers, mask=setup.real, logits=positions(metric))
        return metric.of(out)

    return jax.vmap(measured)(x)


def group_of(attn: Attention, group: Array, shared: int) -> Attention:
    """The heads that share one key/value head, as attention of their own."""
    cut = lambda leaf, size: None if leaf is None else lax.dynamic_slice_in_dim(leaf, group * size, size, 0)
    queries = {name: cut(getattr(attn, name), shared) for name in ("w_q", "w_o", "b_q")}
    keys = {name: cut(getattr(attn, name), 1) for name in ("w_k", "w_v", "b_k", "b_v")}
    return dataclasses.replace(attn, **queries, **keys)


def suits(setup: Experiment) -> bool:
    """Whether units of the model run alone: blocks of this library, and edges of no single position or neuron."""
    blocks, graph = setup.model.blocks, setup.graph
    known = type(blocks) is Block and type(blocks.attn) is Attention
    return known and graph.pos is None and not graph.neurons
