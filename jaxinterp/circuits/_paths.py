r"""Path patching of every edge: one sender's output reaches one receiver, and nothing else.

$$m\big(M(R \mid x_v \leftarrow x_v + o'_u - o_u)\big)$$

for a sender $u$ (a head, an MLP, the embedding) and a receiver $v$ that reads the residual stream
$x_v$ (a head's queries, keys or values, an MLP, the unembedding).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._deprecations import respelled
from ..core._blocks import context, layer_count
from ..core._captures import as_requests
from ..core._check import logit_count
from ..core._edit import Edit, resolve_edits
from ..core._engine import Engine
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._request import Request
from ..core._run import resume, run
from ..core._select import Layers
from ..core._types import Context
from ..metrics import Metric
from ..patching._gradients import positions
from ..patching._pairs import PatchingPair, make_pair
from ..patching.packed._plan import byte_limit
from ..typing import (
    BytesLike,
    MaskLike,
    MetricLike,
    ModelLike,
    SitesLike,
    StrLike,
    TokensLike,
)
from ._paths_result import DirectPaths, Edges
from ._wiring import RECEIVERS, SENDERS, Wiring, chunked, wiring


@respelled(direction="mode='denoise' or mode='noise'")
def direct_paths(
    model: ModelLike,
    clean: TokensLike,
    corrupt: TokensLike,
    metric: MetricLike,
    *,
    senders: SitesLike = SENDERS,
    receivers: SitesLike = RECEIVERS,
    mode: StrLike = "denoise",
    mask: MaskLike | None = None,
    per_example: bool = False,
    max_bytes: BytesLike = "auto",
) -> DirectPaths:
    r"""$m\big(M(R \mid x_v \leftarrow x_v + o'_u - o_u)\big)$ for every sender $u$ of every receiver $v$.

    Path patching, Wang et al. 2022 (https://arxiv.org/abs/2211.00593), Goldowsky-Dill et al. 2023
    (https://arxiv.org/abs/2304.05969), over direct paths: one reader of the residual stream reads what a head
    wrote in the other run. All else before and beside that reader is as in the unpatched run, and all
    behind it is recomputed. The values are exact.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `metric`, `mode`, `mask`, `per_example`: as in
      `ji.patching.sweep`: "denoise" runs the corrupt prompt and lets single edges carry what they
      carry in the clean one.
    - `senders`: kinds, of `"embed"` (token embeddings), `"head"` and `"mlp"`.
    - `receivers`: kinds, of `"q"`, `"k"`, `"v"`, `"mlp"` and `"logits"`.
    - `max_bytes`: memory for the edges that are patched at once.

    **Returns:** a `DirectPaths`: `.q`, `.k`, `.v` of axes (sender layer, sender head, receiver layer,
    receiver head), `.mlp` (sender layer, sender head, receiver layer), `.logits` (sender layer, sender
    head), those of other senders in `.mlps` and `.embed`; `.baseline`; `.top(10)` lists the strongest
    edges. Values are metrics of patched runs, NaN where there is no edge. In parallel blocks a head
    has no edge to the MLP beside it.

    One compiled program: for each receiver only the blocks from its own on run, many edges at once.

    ```python
    paths = ji.circuits.direct_paths(model, clean, corrupt, metric)
    print(paths.top(5))
    into_keys = paths.k - paths.baseline
    ```

    Law: each edge is the metric of one run with `ji.add("k_in", o' - o, layer=..., head=...)`.
    """
    pair = make_pair(model, clean, corrupt, mask, mode)
    checked = pair.metric(metric)
    nodes = wiring(pair.shapes, pair.layers, senders, receivers)
    width, readers, heads_at_once = _sizes(nodes, pair, checked, max_bytes)
    chunks = chunked(nodes, width, readers) if nodes.inner else None
    baseline, inside, outside = _program(
        model,
        pair.target,
        pair.source,
        checked,
        pair.mask,
        None if chunks is None else vars(chunks),
        nodes,
        heads_at_once,
    )
    batch = pair.batch

    def cut(values: Array | None, sender: str, kind: str) -> Array | None:
        if values is None:
            return None
        at = nodes.span(kind, nodes.inner) if kind != "logits" else slice(None)
        part = (
            values[nodes.span(sender, nodes.senders), at]
            if kind != "logits"
            else values[nodes.span(sender, nodes.senders)]
        )
        part = part.reshape(*nodes.sizes(sender), *nodes.sizes(kind), -1)
        return part.reshape(*part.shape[:-1], *batch) if per_example else part.mean(-1)

    def edges(sender: str) -> Edges | None:
        if sender not in nodes.senders:
            return None
        return Edges(
            **{
                kind: cut(outside if kind == "logits" else inside, sender, kind)
                if kind in nodes.receivers
                else None
                for kind in RECEIVERS
            }
        )

    whole = baseline.reshape(batch) if per_example else baseline.mean()
    return DirectPaths(edges("head"), edges("mlp"), edges("embed"), whole)


def _sizes(nodes: Wiring, pair: PatchingPair, metric: Metric, max_bytes: BytesLike) -> tuple[int, int, int]:
    """Edges to a chunk, readers to a chunk, and senders whose logits are made at once."""
    limit, shapes = byte_limit(max_bytes), pair.shapes
    *batch, pos, d = shapes["resid_pre"].shape
    item = shapes["resid_pre"].dtype.itemsize
    tokens = int(np.prod(batch)) * pos
    ff = shapes["mlp_post"].shape[-1] if "mlp_post" in shapes else 0
    heads = int(np.prod(shapes["q"].shape[-2:]))
    reads = 1 if metric.one else pos if metric.pos is None else metric.pos.shape[-1]
    logits = 12 * int(np.prod(batch)) * reads * logit_count(pair.model.config)
    fixed = item * tokens * d * (nodes.layers * (2 + nodes.heads * 3) + 2)
    each = item * tokens * (6 * d + 3 * ff + 6 * heads) + 12 * nodes.heads * tokens * pos + logits
    room = int(0.5 * (limit - fixed) / each)
    if room < 1:
        raise ValueError(
            f"Patching one edge of these prompts needs about {(fixed + 2 * each) / 2**20:.1f} MiB, and "
            f"max_bytes is {limit / 2**20:.1f} MiB. Raise max_bytes, or give fewer prompts at once."
        )
    # As many as keep the device busy.
    busy = max(1, (1024 if jax.default_backend() == "cpu" else 2**16) // tokens)
    edges = len(nodes.edges()) if nodes.inner else 1
    width = max(1, min(room, busy, edges))
    per_sender = nodes.heads + 2 * nodes.kv_heads + 1
    at_once = max(1, min(room, 2**26 // logits, sum(int(np.prod(nodes.sizes(s))) for s in nodes.senders)))
    return width, -(-width // per_sender), at_once


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


@eqx.filter_jit
def _program(
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
