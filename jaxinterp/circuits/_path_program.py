"""The compiled program of direct paths: what each receiver gets from each sender."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..core._blocks import context, layer_count
from ..core._captures import as_requests
from ..core._edit import Edit, resolve_edits
from ..core._engine import Engine
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._request import Request
from ..core._run import resume, run
from ..core._select import Layers
from ..core._types import Context
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ._wiring import RECEIVERS, Wiring


class Receive(Edit):
    """One reader of a block takes new values: a head's queries, keys or values, or the MLP's input."""

    q: Array
    k: Array
    v: Array
    delta: Array
    kind: Array
    head: Array
    sites: tuple[str, ...] = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        if site == "mlp_in":
            here = self.kind == RECEIVERS.index("mlp")
            return x + jnp.where(here, self.delta, jnp.zeros_like(self.delta)), state
        chosen = jnp.arange(x.shape[-2], dtype=jnp.int32) == self.head
        chosen = (chosen & (self.kind == RECEIVERS.index(site)))[:, None]
        chosen = jnp.broadcast_to(chosen, x.shape)
        return jnp.where(chosen, getattr(self, site), x), state


@on_mesh
@eqx.filter_jit
def program(
    model: Any,
    target: Array,
    source: Array,
    metric: Metric,
    mask: Any,
    chunks: dict[str, Any] | None,
    nodes: Wiring,
    at_once: int,
) -> tuple[Array, Array | None, Array | None]:
    """The unpatched metric (batch,), edges into blocks (sender, slot, batch), and to the logits."""
    inner, own = split_edits(model)
    shapes = survey(inner, target, own)
    sites = {"embed": "embed", "head": "head_out", "mlp": "mlp_out"}
    capture = [sites[kind] for kind in nodes.senders]
    _, there = run(model, source, capture=capture, mask=mask, logits=False)
    last = f"resid_post[{nodes.layers - 1}]"
    out, here = run(model, target, capture=[*capture, "resid_pre", last], mask=mask, logits=positions(metric))
    baseline = metric.of(out).ravel()
    deltas = jnp.concatenate(
        [_by_sender(kind, there[sites[kind]] - here[sites[kind]]) for kind in nodes.senders]
    )
    outside = None
    if "logits" in nodes.receivers:
        outside = lax.map(
            lambda delta: _unembedded(model, metric, here[last], delta, mask),
            deltas,
            batch_size=at_once,
        )
    if chunks is None:
        return baseline, None, outside
    edits = resolve_edits(own, shapes, nodes.layers)
    edits = tuple(edit.traced_layers() for edit in edits)
    _, ctx = context(inner, here["resid_pre"].shape[1:-1], mask)

    def block(resid: Array, layer: Array, receive: Any, capture: Any) -> tuple[Array, Any]:
        return _block(inner, (*edits, *receive), capture, mask, ctx, resid, layer)

    def chunk(jobs: dict[str, Array]) -> Array:
        layer = jobs["layer"]
        resid = lax.dynamic_index_in_dim(here["resid_pre"], layer, keepdims=False)

        def read(sender: Array) -> Any:
            """The queries, keys and values of the whole block, if all of it read the sender."""
            return block(resid + deltas[sender], layer, (), ("q", "k", "v"))[1]

        reads = jax.vmap(read)(jobs["readers"])

        def edge(sender: Array, reader: Array, kind: Array, head: Array) -> Array:
            q, k, v = (leaf[reader] for leaf in reads)
            touched = ("q", "k", "v", "mlp_in") if nodes.has_mlp else ("q", "k", "v")
            receive = Receive(q=q, k=k, v=v, delta=deltas[sender], kind=kind, head=head, sites=touched)
            after, _ = block(resid, layer, (receive,), ())
            logits, _ = resume(model, after, layer + 1, mask=mask, logits=positions(metric))
            return metric.of(logits).ravel()

        return jax.vmap(edge)(jobs["sender"], jobs["reader"], jobs["kind"], jobs["head"])

    values = lax.map(chunk, {name: jnp.asarray(leaf) for name, leaf in chunks.items()})
    sender, slot = jnp.asarray(chunks["sender"]).ravel(), jnp.asarray(chunks["slot"]).ravel()
    inside = jnp.full((len(deltas), nodes.slots, baseline.shape[0]), jnp.nan, values.dtype)
    # Where a chunk is not full its edges have no slot, and are dropped.
    inside = inside.at[sender, slot].set(values.reshape(-1, baseline.shape[0]), mode="drop")
    return baseline, inside, outside


def _by_sender(kind: str, delta: Array) -> Array:
    """What a kind of senders writes, (sender, *batch, pos, d)."""
    if kind == "embed":
        return delta[None]
    if kind == "mlp":
        return delta
    by_head = jnp.moveaxis(delta, -2, 1)
    return by_head.reshape(-1, *by_head.shape[2:])


def _unembedded(model: Any, metric: Metric, final: Array, delta: Array, mask: Any) -> Array:
    """The metric where the last residual stream, and nothing before it, changes."""
    count = layer_count(split_edits(model)[0])
    logits, _ = resume(model, final + delta, count, mask=mask, logits=positions(metric))
    return metric.of(logits).ravel()


def _block(
    model: Any,
    edits: tuple[Edit, ...],
    capture: Any,
    mask: Any,
    ctx: Context,
    resid: Array,
    layer: Array,
) -> tuple[Array, list[Array]]:
    """The residual stream after one block of a traced number, and what was captured there."""
    request = Request(model, resid, edits, as_requests(capture), mask, False)
    after, recorded = Engine(request).run_block(resid, ctx, layer)
    return after, [recorded[i] for i in range(len(request.captures))]
