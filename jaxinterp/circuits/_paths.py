r"""Path patching of every edge: one sender's output reaches one receiver, and nothing else.

$$m\big(M(R \mid x_v \leftarrow x_v + o'_u - o_u)\big)$$

for a sender $u$ (a head, an MLP, the embedding) and a receiver $v$ that reads the residual stream
$x_v$ (a head's queries, keys or values, an MLP, the unembedding).
"""

import numpy as np
from jaxtyping import Array

from .._deprecations import respelled
from .._waiting import waiting
from ..core._check import logit_count
from ..mesh._platform import platform_of
from ..metrics import Metric
from ..patching._pairs import PatchingPair, make_pair
from ..patching.packed._plan import as_option, byte_limit
from ..typing import (
    BytesLike,
    MaskLike,
    MetricLike,
    ModelLike,
    SitesLike,
    StrLike,
    TokensLike,
)
from ._path_program import program
from ._paths_result import DirectPaths, Edges
from ._wiring import RECEIVERS, SENDERS, Wiring, chunked, wiring


@respelled(direction="mode='denoise' or mode='noise'")
@waiting("ji.circuits.direct_paths: compiling and running")
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
    (https://arxiv.org/abs/2304.05969), for direct paths: one receiver reads what one sender writes in the other run.
    Everything before the receiver, and all other receivers of its layer, are as in the unpatched run. Everything after
    the receiver is computed again. The values are exact.

    **Arguments:**

    - `model`, `clean`, `corrupt`, `metric`, `mode`, `mask`, `per_example`: as in
      `ji.patching.sweep`. `"denoise"` runs the corrupt prompt, and one edge carries what it carries
      in the clean run.
    - `senders`: one or several of `"embed"` (token embeddings), `"head"` and `"mlp"`.
    - `receivers`: one or several of `"q"`, `"k"`, `"v"`, `"mlp"` and `"logits"`.
    - `max_bytes`: the memory for the edges that are patched at once.

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
    baseline, inside, outside = program(
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
            f"Patching one edge of these prompts needs about {as_option(fixed + 2 * each)}, and "
            f"max_bytes is {limit}. Raise max_bytes, or give fewer prompts at once."
        )
    # As many as keep the device busy.
    accelerated = platform_of((pair.model, pair.target)) != "cpu"
    busy = max(1, (8192 if accelerated else 1024) // tokens)
    edges = len(nodes.edges()) if nodes.inner else 1
    width = max(1, min(room, busy, edges))
    per_sender = nodes.heads + 2 * nodes.kv_heads + 1
    at_once = max(1, min(room, 2**26 // logits, sum(int(np.prod(nodes.sizes(s))) for s in nodes.senders)))
    # A chunk that begins within a sender ends within another one: with a reader for each it is always full.
    return width, 1 - (-(width - 1) // per_sender), at_once
