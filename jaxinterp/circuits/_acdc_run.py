r"""What ACDC runs: many circuits that are whole before one layer, from that layer on, as one program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core._listing import survey
from ..core._run import resume
from ..core._run import run as run_model
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..patching._gradients import positions
from ._edge_mask import SENDING
from ._run import Experiment


class WholeRun(eqx.Module):
    """The clean run: the stream that enters each block, and $u' - u$ of every sender."""

    streams: Float[Array, "layer *batch pos d"]
    differs: Float[Array, "sender *batch pos d"]


@on_mesh
@eqx.filter_jit
def whole_run(setup: Experiment) -> WholeRun:
    """The clean run, once."""
    emitted = survey(setup.model, setup.tokens)
    sites = [site for site in SENDING if site in emitted]
    capture = [*sites, "resid_pre"]
    _, acts = run_model(setup.model, setup.tokens, capture=capture, mask=setup.real, logits=False)

    def differs(site: str) -> Array:
        here = acts[site]
        there = 0 if setup.there is None else jnp.broadcast_to(setup.there[site], here.shape)
        return (there - here).astype(here.dtype)

    ends = [differs(site) for site in sites if site in ("embed", "pos_embed")]
    ends = [jnp.broadcast_to(x, acts["resid_pre"].shape[1:]) for x in ends]
    first = jnp.stack(ends if len(setup.graph.embeddings) == len(ends) else [sum(ends[1:], ends[0])])
    blocks = jnp.moveaxis(differs("head_out"), -2, 1)
    if setup.graph.has_mlp:
        blocks = jnp.concatenate([blocks, differs("mlp_out")[:, None]], 1)
    rows = blocks.reshape(-1, *blocks.shape[2:])
    return WholeRun(acts["resid_pre"], jnp.concatenate([first, rows]))


@on_mesh
@eqx.filter_jit
def from_layer(
    setup: Experiment, whole: WholeRun, masks: Bool[Array, "n edge"], layer: Array, metric: Metric
) -> Float[Array, "n *batch"]:
    """The metric of circuits that are whole before `layer`, one number per example."""
    stream = jax.lax.dynamic_index_in_dim(whole.streams, layer, keepdims=False)

    def one(mask: Array) -> Array:
        edit = setup.edit(mask, whole.differs)
        out, _ = resume(setup.model, stream, layer, edits=[edit], mask=setup.real, logits=positions(metric))
        return metric.of(out)

    return jax.vmap(one)(masks)


@dataclasses.dataclass
class Runner:
    """Evaluates masks in batches of one width, and counts them."""

    setup: Experiment
    metric: Metric
    width: int
    whole: Any = None
    runs: int = 0

    def per_example(self, masks: np.ndarray, layer: int) -> np.ndarray:
        """The metric of masks that are whole before a layer, `(n, *batch)`."""
        if self.whole is None:
            self.whole = whole_run(self.setup)
        found = []
        for start in range(0, len(masks), self.width):
            part = masks[start : start + self.width]
            full = np.concatenate([part, np.repeat(part[-1:], self.width - len(part), 0)])
            number = jnp.asarray(layer, jnp.int32)
            out = from_layer(self.setup, self.whole, jnp.asarray(full), number, self.metric)
            found.append(np.asarray(out, np.float64)[: len(part)])
        self.runs += len(masks)
        return np.concatenate(found)

    def __call__(self, masks: np.ndarray, layer: int) -> np.ndarray:
        """The same, its mean over the prompts."""
        return self.per_example(masks, layer).reshape(len(masks), -1).mean(1)


def width_of(edges: int, fits: int) -> int:
    """How many masks run at once: a power of two that fits, and that the largest stage fills."""
    most = min(fits, 64, max(edges, 1))
    return 1 << (int(most).bit_length() - 1)
