r"""What ACDC runs: many circuits that are whole before one layer, from that layer on, as one program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ..core._listing import survey
from ..core._run import resume
from ..core._run import run as run_model
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ._edge_mask import SENDING, Changes
from ._neurons import directions, read_all, units_of, written
from ._run import Experiment


class WholeRun(eqx.Module):
    """The clean run.

    - `streams`, `mids`, `last`: the stream that enters each block, that its MLP reads, and that the logits read.
    - `wrote`, `differs`: $u$ and $u' - u$ of every sender that writes a vector.
    - `fired`: $a' - a$ of the neurons that are senders, or None.
    """

    streams: Float[Array, "layer *batch pos d"]
    mids: Float[Array, "layer *batch pos d"]
    last: Float[Array, "*batch pos d"]
    wrote: Float[Array, "sender *batch pos d"]
    differs: Float[Array, "sender *batch pos d"]
    fired: Float[Array, "row neuron *batch pos"] | None = None


@on_mesh
@eqx.filter_jit
def whole_run(setup: Experiment) -> WholeRun:
    """The clean run, once."""
    emitted = survey(setup.model, setup.tokens)
    sending = (*SENDING, "mlp_post") if setup.graph.neurons else SENDING
    sites = [site for site in sending if site in emitted]
    middle = "resid_mid" if setup.graph.has_mlp and not setup.graph.parallel else "resid_pre"
    capture = [*sites, "resid_pre", "resid_post", *(["resid_mid"] if middle == "resid_mid" else [])]
    _, acts = run_model(setup.model, setup.tokens, capture=capture, mask=setup.real, logits=False)

    def rows(values: Any) -> Array:
        ends = [
            jnp.broadcast_to(values[site], acts["resid_pre"].shape[1:]) for site in sites if "embed" in site
        ]
        first = jnp.stack(ends if len(setup.graph.embeddings) == len(ends) else [sum(ends[1:], ends[0])])
        blocks = jnp.moveaxis(values["head_out"], -2, 1)
        if setup.graph.has_mlp:
            blocks = jnp.concatenate([blocks, values["mlp_out"][:, None]], 1)
        return jnp.concatenate([first, blocks.reshape(-1, *blocks.shape[2:])])

    wrote = rows(acts)
    there = 0 if setup.there is None else rows(setup.there)
    differs = (there - wrote).astype(wrote.dtype)
    fired = None
    out = directions(setup.model, setup.graph)
    if out is not None:
        # Their MLPs send what is left beside them.
        graph = setup.graph
        other = jnp.zeros_like(acts["mlp_post"]) if setup.there is None else setup.there["mlp_post"]
        fired = read_all(jnp.broadcast_to(other, acts["mlp_post"].shape) - acts["mlp_post"], graph)
        rows_at = len(graph.embeddings) + units_of(graph)[0] * (graph.heads + 1) + graph.heads
        differs = differs.at[rows_at].add(-jax.vmap(written)(fired, out))
    return WholeRun(acts["resid_pre"], acts[middle], acts["resid_post"][-1], wrote, differs, fired)


@on_mesh
@eqx.filter_jit
def from_layer(
    setup: Experiment, whole: WholeRun, masks: Bool[Array, "n edge"], layer: Array, metric: Metric
) -> Float[Array, "n *batch"]:
    """The metric of circuits that are whole before `layer`, one number per example."""
    stream = lax.dynamic_index_in_dim(whole.streams, layer, keepdims=False)

    def one(mask: Array) -> Array:
        edit = setup.edit(mask, Changes(whole.differs, whole.fired))
        out, _ = resume(setup.model, stream, layer, edits=[edit], mask=setup.real, logits=positions(metric))
        return metric.of(out)

    return jax.vmap(one)(masks)


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
