r"""Circuits that differ from a known one in a few edges: only what lies behind these edges runs.

With $a_u$ what a sender writes in the known circuit minus what it writes in the clean run, and $c_u = u' - u$, a
receiver reads $x_v + \sum_u m_{uv} a_u + (1 - m_{uv}) c_u$, where $x_v$ is the clean stream. Positions before `start`,
at which the prompts are the same, read the clean stream.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from ..core._blocks import at_layer, context
from ..core._check import token_shape
from ..core._run import resume
from ..core._tap import Tap
from ..core._types import Context, Reads
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..nn import Attention, Block
from ..nn._linear import add_bias, einsum
from ..nn._rotary import rotate
from ..patching._gradients import positions
from ._acdc_run import WholeRun
from ._acdc_units import UnitPlan, Units
from ._run import Experiment


class Ran(eqx.Module):
    """What units write in changed circuits, minus what they write in the known one.

    - `wide (row, n, *batch, pos, d)`: from position `start` on; `narrow (narrow, n, *batch, at, d)`: where the metric reads.
    """

    wide: Float[Array, "row n *batch pos d"]
    narrow: Float[Array, "narrow n *batch at d"]


def taken(x: Shaped[Array, "*lead pos d"], at: Int[Array, "*batch at"]) -> Shaped[Array, "*lead at d"]:
    """`x` at columns that all examples share, or at columns of each."""
    if at.ndim == 1:
        return jnp.take(x, at, axis=-2, mode="clip")
    return jnp.take_along_axis(x, jnp.broadcast_to(at[..., None], (*x.shape[:-2], at.shape[-1], 1)), -2)


class Place:
    """Some positions: from `start` on, or the columns `at`. What is read there of the known circuit, once."""

    def __init__(
        self, take: Callable[[Array], Array], whole: WholeRun, change: Array, changed: Array
    ) -> None:
        self.take = take
        self.change, self.differs, self.wrote = (take(x) for x in (change, whole.differs, whole.wrote))
        self.less = (self.differs - self.change)[changed]
        self.was = self.wrote
        "What every sender writes in the known circuit, with spare rows behind; set where units run."

    def known(self, unit: Units, slots: slice, stream: Array) -> Array:
        """What slots of a unit read in the known circuit, `(slot, *batch, pos, d)`."""
        keep, cut = unit.keep[slots].astype(stream.dtype), unit.cut[slots].astype(stream.dtype)
        both = einsum("su,u...->s...", keep, self.change) + einsum("su,u...->s...", cut, self.differs)
        return self.take(stream)[None] + both

    def read(self, unit: Units, slots: slice, known: Array, ran: Array) -> Array:
        """What they read in changed circuits, `(n, slot, *batch, pos, d)`; `ran` are the units that ran."""
        less, heard = (
            unit.less[:, slots].astype(known.dtype),
            unit.heard[slots, : len(ran)].astype(known.dtype),
        )
        moved = einsum("sr,rn...->ns...", heard, ran)
        extra = lambda: moved + einsum("nsj,j...->ns...", less, self.less)
        return known[None] + lax.cond((less > 0).any(), extra, lambda: moved)


@on_mesh
@eqx.filter_jit
def from_known(
    setup: Experiment,
    whole: WholeRun,
    change: Array,
    plan: UnitPlan,
    at: Int[Array, "*example at"] | None,
    metric: Metric,
    start: int,
) -> tuple[Float[Array, "n *batch"], Ran]:
    """The metric of circuits that cut some edges more than the known one. `at`: where narrow units run."""
    graph, model = setup.graph, setup.model
    prompts = token_shape(setup.tokens)
    ids, ctx = context(model, prompts, setup.real)
    shared, n = graph.heads // graph.kv_heads, plan.logits.less.shape[1]
    causal = bool(model.config.causal)
    here = Place(lambda x: x[..., start:, :], whole, change, plan.changed)
    reads = Reads(prompts[-1] - start, prompts[-1], causal=causal, first=start, real=setup.real)
    later = Context(reads, None if ctx.tables is None else model.tables(ids[..., start:]))
    there, few = here, later
    if at is not None:
        there = Place(lambda x: taken(x, at), whole, change, plan.changed)
        rows = jnp.broadcast_to(ctx.mask, (*prompts, prompts[-1])) if ctx.mask is not None else None
        reads = Reads(
            at.shape[-1], prompts[-1], real=setup.real, table=None if rows is None else taken(rows, at)
        )
        few = Context(
            reads,
            None
            if ctx.tables is None
            else model.tables(taken(jnp.broadcast_to(ids, prompts)[..., None], at)[..., 0]),
        )

    def projected(
        unit: Units, slots: slice, parts: tuple[Place, Array, Any], w: Array, b: Any, stream: Array
    ) -> Array:
        """Queries, keys or values `(n, *batch, pos, head, k)`: computed once where they are those of the known circuit."""
        place, ran, norm = parts
        known = place.known(unit, slots, stream)

        def through(x: Array) -> Array:
            normed = x if norm is None else norm(x)
            return add_bias(einsum("ns...d,sdk->n...sk", normed, w), b)

        many = lambda: through(place.read(unit, slots, known, ran))
        once = lambda: jnp.repeat(through(known[None]), n, 0)
        return lax.cond(unit.moves[slots].any(), many, once)

    def heads(unit: Units, place: Place, ran: tuple[Array, Array], around: Context) -> Array:
        block = at_layer(model.blocks, unit.layer)
        attn, norm = group_of(block.attn, unit.group, shared), block.ln1
        stream = lax.dynamic_index_in_dim(whole.streams, unit.layer, keepdims=False)
        q = projected(unit, slice(0, shared), (place, ran[0], norm), attn.w_q, attn.b_q, stream)
        before = stream[None, None, ..., :start, :]
        pair = []
        for slot, w, b in ((shared, attn.w_k, attn.b_k), (shared + 1, attn.w_v, attn.b_v)):
            new = projected(unit, slice(slot, slot + 1), (here, ran[1], norm), w, b, stream)
            if start:
                normed = before if norm is None else norm(before)
                old = add_bias(einsum("ns...d,sdk->n...sk", normed, w), b)
                new = jnp.concatenate([jnp.repeat(old, n, 0), new], -3)
            pair.append(new)
        k, v = pair
        if ctx.tables is not None:
            q, k = rotate(q, around.tables), rotate(k, ctx.tables)
        around = around.at(unit.layer)
        tap = Tap(layer=unit.layer, real=setup.real)
        z = jax.vmap(lambda q, k, v: attn.mixed(attn._scaled(q, around), k, v, around, tap))(q, k, v)
        return einsum("n...hk,hkd->hn...d", z, attn.w_o)

    def mlp(unit: Units, place: Place, ran: Array) -> Array:
        block = at_layer(model.blocks, unit.layer)
        stream = lax.dynamic_index_in_dim(whole.mids, unit.layer, keepdims=False)
        one = slice(0, 1)
        x = place.read(unit, one, place.known(unit, one, stream), ran)[:, 0]
        out = block.mlp(x, block.ln2, Tap(layer=unit.layer, real=setup.real))[None]
        return jnp.concatenate([out, jnp.zeros((shared - 1, *out.shape[1:]), out.dtype)])

    def step(i: Any, found: Array, units: Units, place: Place, wide: Any, around: Context) -> Array:
        """Runs unit `i`. `found` are the units before it, and `wide` the wide ones, by place."""
        unit = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, i, keepdims=False), units)
        ran = (found, found) if wide is None else (jnp.concatenate([wide[0], found]), wide[1])
        out = (
            heads(unit, place, ran, around)
            if not graph.has_mlp
            else lax.cond(unit.mlp, lambda: mlp(unit, place, ran[0]), lambda: heads(unit, place, ran, around))
        )
        was = lax.dynamic_slice_in_dim(place.was, unit.row, shared, 0)
        other = unit.mlp & (jnp.arange(shared, dtype=jnp.int32) > 0).reshape(-1, *(1,) * (was.ndim - 1))
        moved = jnp.where(other[:, None], 0, out - was[:, None])
        return lax.dynamic_update_slice_in_dim(found, moved, i * shared, 0)

    for place in (here, there):
        spare = jnp.zeros((shared, *place.wrote.shape[1:]), place.wrote.dtype)
        place.was = jnp.concatenate([place.wrote + place.change, spare])
    empty = lambda units, place: jnp.zeros(
        (len(units.layer) * shared, n, *place.wrote.shape[1:]), change.dtype
    )
    wide = empty(plan.wide, here)
    wide = lax.fori_loop(
        0, plan.counts[0], lambda i, found: step(i, found, plan.wide, here, None, later), wide
    )
    narrow, ran = empty(plan.narrow, there), wide
    if at is not None:
        both = (taken(wide[..., :, :], at - start), wide)
        narrow = lax.fori_loop(
            0, plan.counts[1], lambda i, found: step(i, found, plan.narrow, there, both, few), narrow
        )
        ran = jnp.concatenate([both[0], narrow])
    last = jax.tree.map(lambda leaf: leaf[0], plan.logits)
    x = there.read(last, slice(0, 1), there.known(last, slice(0, 1), whole.last), ran)[:, 0]
    return jax.vmap(lambda stream: measured(setup, whole, stream, at, metric, start))(x), Ran(wide, narrow)


def measured(setup: Experiment, whole: WholeRun, stream: Array, at: Any, metric: Metric, start: int) -> Array:
    """The metric of the stream that the logits read, at its positions or from `start` on."""
    layers = setup.graph.layers
    if at is None:
        stream = jnp.concatenate([whole.last[..., :start, :], stream], -2)
        out, _ = resume(setup.model, stream, layers, mask=setup.real, logits=positions(metric))
        return metric.of(out)
    out, _ = resume(setup.model, stream, layers, logits=True)
    return metric.of(out if jnp.ndim(metric.pos) else out[..., 0, :])


@on_mesh
@eqx.filter_jit
def accepted(change: Array, plan: UnitPlan, ran: Ran, index: Array, at: Any, start: int) -> Array:
    """`change` of the circuit with the number `index` among those that ran."""
    for units, rows in ((plan.wide, ran.wide), (plan.narrow, ran.narrow)):
        if not len(rows):
            continue
        count = plan.counts[0 if units is plan.wide else 1]
        shared = len(rows) // len(units.row)
        one = lax.dynamic_index_in_dim(rows, index, 1, keepdims=False)
        if units is plan.wide:
            one = jnp.pad(one, [(0, 0)] * (one.ndim - 2) + [(start, 0), (0, 0)])
        else:
            hot = jax.nn.one_hot(at, change.shape[-2], dtype=one.dtype)
            hot = jnp.broadcast_to(hot, (*one.shape[:-2], *hot.shape[-2:]))
            one = einsum("...rp,...rd->...pd", hot, one)
        inner = jnp.arange(shared, dtype=jnp.int32)
        row = units.row[:, None] + jnp.where(units.mlp[:, None], 0, inner[None])
        real = (jnp.arange(len(units.row), dtype=jnp.int32) < count)[:, None] & ~(
            units.mlp[:, None] & (inner > 0)[None]
        )
        row = jnp.where(real, row, len(change)).reshape(-1)
        change = change.at[row].add(one, mode="drop")
    return change


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
