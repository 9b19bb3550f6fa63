"""The one program of edge attribution: gradients along a path, times what senders change by."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..core._blocks import at_layer
from ..core._run import run
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ..nn._linear import einsum
from ..patching._gradients import positions
from ._eap_points import Normed, PathPoint, ReadGradients, Towards, is_plain, point, streams
from ._graph import Graph
from ._neurons import directions, read_all, rows_of, units_of, vector_count
from ._numbering import nodes_of
from ._run import Experiment

EMBEDDED = ("embed", "pos_embed")


@on_mesh
@eqx.filter_jit
def attribute(
    setup: Experiment, metric: Metric, points: Array, along: str, count: int, together: int
) -> tuple[Array, Array, Array]:
    """The scores `(edge,)`, the logits of the run, and the size of the metric's gradient at all points.

    `points` `(n, 2)` are the places on the path and their weights; the last place is 1, the run itself. `count`
    examples are multiplied at once, and `together` points run at once.
    """
    sending = sites_of(setup)
    if along != "activations":
        (wrote, logits), reads, normed, size = _mean(
            setup, metric, points, jnp.asarray(-1), together, EMBEDDED
        )
        return _by_edge(_product(setup, wrote, reads, normed, count), setup), logits, size
    _, acts = run(setup.model, setup.tokens, capture=list(sending), mask=setup.real, logits=False)
    wrote = {site: acts[site] for site in sending}
    written = nodes_of(setup.graph).written

    def group(stage: Array) -> tuple[Array, Array, Array]:
        (_, logits), reads, normed, size = _mean(setup, metric, points, stage, together, sending)
        own = (jnp.asarray(written) == stage)[None, :, None]
        scores = _product(setup, wrote, reads, normed, count)
        return jnp.where(jnp.broadcast_to(own, scores.shape), scores, 0), logits, size

    scores, logits, size = lax.map(group, jnp.asarray(np.unique(written)))
    return _by_edge(scores.sum(0), setup), logits[0], size.sum()


@on_mesh
@eqx.filter_jit
def other_end(setup: Experiment, metric: Metric) -> Array:
    """The logits at the other end of the path along inputs."""
    moving = tuple(site for site in sites_of(setup) if site in EMBEDDED)
    there = None if setup.there is None else {site: setup.there[site] for site in moving}
    edit = Towards(there=there, alpha=jnp.asarray(0.0), stage=jnp.asarray(-1), sites=moving)
    return run(setup.model, setup.tokens, edits=[edit], mask=setup.real, logits=positions(metric))[0]


def sites_of(setup: Experiment) -> tuple[str, ...]:
    """The sites where senders write, of which heads are mixed values where the blocks are known."""
    graph = setup.graph
    heads = "z" if is_plain(setup.model) else "head_out"
    pos = ("pos_embed",) if graph.learned_positions else ()
    return ("embed", *pos, heads, *["mlp_out"] * graph.has_mlp, *["mlp_post"] * bool(graph.neurons))


def _mean(
    setup: Experiment, metric: Metric, places: Array, stage: Array, together: int, moving: tuple[str, ...]
) -> tuple[tuple[dict[str, Array], Array], ReadGradients, Normed | None, Array]:
    """What senders write at the last point and its logits, the weighted sum of gradients, and the size of slopes.

    What the norm takes away has one entry for each point, times its weight.
    """
    sending = sites_of(setup)
    # Neurons move where their MLP does.
    moving = tuple(site for site in sending if site in moving and site != "mlp_post")
    there = None if setup.there is None else {site: setup.there[site] for site in moving}

    def one(alpha: Array) -> PathPoint:
        return point(setup, metric, Towards(there=there, alpha=alpha, stage=stage, sites=moving), sending)

    shapes = jax.eval_shape(one, places[0, 0])
    zeros = lambda tree: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
    last = (shapes.wrote, shapes.logits)

    def several(carry: Any, members: Array) -> tuple[Any, Normed | None]:
        total, _, size = carry
        alphas, weights = members[:, 0], members[:, 1]
        points = (
            jax.vmap(one)(alphas) if together > 1 else jax.tree.map(lambda leaf: leaf[None], one(alphas[0]))
        )
        total = jax.tree.map(
            lambda old, new: old + jnp.tensordot(weights.astype(new.dtype), new, 1, precision="highest"),
            total,
            points.reads,
        )
        size = size + jnp.abs(points.slope).sum(dtype=size.dtype)
        end = jax.tree.map(lambda leaf: leaf[-1], (points.wrote, points.logits))
        return (total, end, size), points.normed

    start = (zeros(shapes.reads), zeros(last), jnp.zeros((), shapes.reads.logits.dtype))
    (reads, end, size), normed = lax.scan(several, start, places.reshape(-1, together, 2))
    if normed is not None:
        hat, along = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in (normed.hat, normed.along))
        normed = Normed(hat, jax.vmap(jnp.multiply)(along, places[:, 1].astype(along.dtype)))
    return end, reads, normed, size


def _product(
    setup: Experiment, here: dict[str, Array], reads: ReadGradients, normed: Normed | None, count: int
) -> Array:
    """Differences times gradients, `(slot, sender, position)`, `count` examples at once, summed over them.

    Without positions in the graph the last axis has one entry.
    """
    graph, lead = setup.graph, reads.logits.ndim - 2

    def flat(leaf: Array, before: int) -> Array:
        """One batch axis behind `before` axes, as (chunk, *before, example, ...)."""
        shape = leaf.shape
        leaf = leaf.reshape(*shape[:before], -1, count, *shape[before + lead :])
        return jnp.moveaxis(leaf, before, 0)

    wide = reads.logits.dtype
    there = setup.there
    change = {
        site: (0 if there is None else jnp.broadcast_to(there[site], value.shape).astype(wide))
        - value.astype(wide)
        for site, value in here.items()
    }
    chunks: dict[str, Any] = {
        "change": {site: flat(value, 0 if site in EMBEDDED else 1) for site, value in change.items()},
        "layers": jax.tree.map(lambda leaf: flat(leaf, 1), (reads.q, reads.k, reads.v, reads.mlp)),
        "logits": flat(reads.logits, 0),
        "normed": jax.tree.map(lambda leaf: flat(jnp.moveaxis(leaf, 1, 0), 2), normed),
        "place": None if graph.pos is None else flat(_places(setup, reads.logits), 0),
    }
    blocks = setup.model.blocks if is_plain(setup.model) else None
    out = directions(setup.model, graph)

    def one(total: Array, chunk: dict[str, Any]) -> tuple[Array, None]:
        delta = _senders(chunk["change"], blocks, graph)
        place = chunk["place"]

        def score(gradients: Array) -> Array:
            number = jnp.ones((*delta.shape[1:3], 1), wide) if place is None else place
            if place is None:
                found = einsum("rbpd,ubpd->ru", gradients, delta)[..., None]
            else:
                found = einsum("rbpd,ubpd,bpt->rut", gradients, delta, place)
            if out is None:
                return found
            along = lambda row: einsum("rbpd,nd->rnbp", gradients, row[1].astype(wide)) * row[0][None]
            fired = read_all(chunk["change"]["mlp_post"], graph)
            rows = lax.map(lambda row: einsum("rnbp,bpt->rnt", along(row), number), (fired, out))
            return jnp.concatenate(
                [found, jnp.moveaxis(rows, 0, 1).reshape(len(found), -1, found.shape[-1])], 1
            )

        def layer(_: None, xs: Any) -> tuple[None, Array]:
            (q, k, v, mlp), normed, number = xs
            block = None if blocks is None else at_layer(blocks, number)
            found = score(streams(block, ReadGradients(q, k, v, None, q), normed))
            return None, found if mlp is None else jnp.concatenate([found, score(mlp[None])])

        numbers = jnp.arange(graph.layers, dtype=jnp.int32)
        _, inner = lax.scan(layer, None, (chunk["layers"], chunk["normed"], numbers))
        inner = inner.reshape(-1, *inner.shape[2:])
        return total + jnp.concatenate([inner, score(chunk["logits"][None])]), None

    slots = graph.layers * (graph.heads + 2 * graph.kv_heads + graph.has_mlp) + 1
    start = jnp.zeros((slots, len(rows_of(graph)), graph.pos or 1), wide)
    total, _ = lax.scan(one, start, chunks)
    return _in_order(total, graph)


def _in_order(total: Array, graph: Graph) -> Array:
    """Scores by the rows of `rows_of` as those of senders. The score of an MLP is the sum of those of its parts."""
    if not graph.neurons:
        return total
    rows, vectors = rows_of(graph), vector_count(graph)
    layers, index = units_of(graph)
    parts = total[:, vectors:].reshape(len(total), *index.shape, -1).sum(2)
    rest = len(graph.embeddings) + layers * (graph.heads + 1) + graph.heads
    total = total.at[:, rest].add(-parts)
    return total[:, np.argsort(rows)[(rows < 0).sum() :]]


def _places(setup: Experiment, stream: Array) -> Array:
    """Which position of the graph each column is, `(*batch, pos, position)`; padding is none."""
    *batch, pos, _ = stream.shape
    if setup.number is None or setup.real is None:
        return jnp.broadcast_to(jnp.eye(pos, dtype=stream.dtype), (*batch, pos, pos))
    place = jax.nn.one_hot(setup.number, pos, dtype=stream.dtype)
    return place * jnp.broadcast_to(setup.real[..., None], place.shape).astype(stream.dtype)


def _senders(change: dict[str, Array], blocks: Any, graph: Graph) -> Array:
    """What each sender writes in the other run minus what it writes here, `(sender, example, pos, d)`."""
    first = [change[site][None] for site in EMBEDDED if site in change]
    if len(graph.embeddings) < len(first):
        first = [sum(first[1:], first[0])]
    if blocks is None:
        heads = jnp.moveaxis(change["head_out"], -2, 1)
    else:
        heads = einsum("lbphk,lhkd->lhbpd", change["z"], blocks.attn.w_o.astype(change["z"].dtype))
    inner = [heads, change["mlp_out"][:, None]] if graph.has_mlp else [heads]
    inner = jnp.concatenate(inner, 1)
    return jnp.concatenate([*first, inner.reshape(-1, *inner.shape[2:])])


def _by_edge(scores: Array, setup: Experiment) -> Array:
    """Scores of slots `(slot, sender, position)` as those of the graph's edges, the mean over examples."""
    soft = jnp.issubdtype(setup.tokens.dtype, jnp.floating)
    examples = int(np.prod(setup.tokens.shape[: -2 if soft else -1]))
    graph = setup.graph
    if not graph.split_qkv:
        scores = _by_head(scores, graph)
    pairs = graph.pairs
    return (scores[pairs[:, 1], pairs[:, 0]] / examples).reshape(-1)


def _by_head(scores: Array, graph: Graph) -> Array:
    """The sum over the queries, keys and values of the heads that are one receiver."""
    kv, mlp = graph.kv_heads, graph.has_mlp
    width = graph.heads + 2 * kv + mlp
    inner = scores[:-1].reshape(graph.layers, width, *scores.shape[1:])
    q = inner[:, : graph.heads].reshape(graph.layers, kv, -1, *scores.shape[1:]).sum(2)
    k, v = inner[:, graph.heads : graph.heads + kv], inner[:, graph.heads + kv : graph.heads + 2 * kv]
    heads = jnp.concatenate([q + k + v, *[inner[:, -1:]] * mlp], 1)
    return jnp.concatenate([heads.reshape(-1, *scores.shape[1:]), scores[-1:]])
