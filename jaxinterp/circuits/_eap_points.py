r"""One point of a path: a run, and the gradient of the metric where each receiver reads.

Queries, keys and values are cheap sites, so the gradient is taken there and brought back to the stream of $d$
channels by the matrices and the norm. With $\hat x = x / \sigma$, gains $g$ and a head's matrix $W$, the gradient
$y$ at the queries becomes

$$\frac{\partial m}{\partial x} = P\big(g \odot W y / \sigma\big) - \hat x\, a, \qquad
a = \frac{1}{d\,\sigma}\, y \cdot W^\top (g \odot \hat x)$$

where $P$ subtracts the mean over channels if the norm does. The first term is linear in $y / \sigma$, so a mean over
points is taken before the product with $W$, and all points together cost one such product.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from ..core._arithmetic import Arithmetic
from ..core._check import Shapes
from ..core._edit import Edit
from ..core._grads import as_if_added
from ..core._listing import survey
from ..core._run import run
from ..core._select import Layers, Where
from ..core._sites import is_per_layer
from ..metrics import Metric
from ..nn import Block
from ..nn._linear import accumulation_dtype, einsum, like
from ..patching._gradients import positions
from ._run import Experiment

QKV = ("q", "k", "v")


class Towards(Edit):
    r"""$x + (1 - \alpha)(u' - x)$: what senders write moves towards what they write in the other run.

    - `there`: $u'$ by site, or None for zero.
    - `alpha`: a number: 1 leaves the run as it is.
    - `stage`: the senders that move, as `Nodes.written` numbers them; the embeddings have -1.
    """

    there: dict[str, Array] | None
    alpha: Array
    stage: Array
    sites: tuple[str, ...] = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    def per_layer(self, shapes: Shapes) -> Any:
        spec = jax.tree.map(lambda _: False, self)
        if self.there is None:
            return spec
        return eqx.tree_at(lambda edit: edit.there, spec, {site: is_per_layer(site) for site in self.there})

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        number = -1 if not is_per_layer(site) else 2 * tap.layer + int(site == "mlp_out")
        share = jnp.where(self.stage == number, 1 - self.alpha, 0).astype(x.dtype)
        other = jnp.zeros_like(x) if self.there is None else self.there[site].astype(x.dtype)
        return x + share * (jnp.broadcast_to(other, x.shape) - x), state


class ReadGradients(eqx.Module):
    """Gradients at what receivers read, in wide numbers.

    - `q`, `k`, `v` `(layer, *batch, pos, head, k)`: gradients at queries, keys and values, over $\\sigma$; or
      `(layer, *batch, pos, head, d)`, at what these read, where blocks are of another kind.
    - `mlp` `(layer, *batch, pos, d)`, or None; `logits` `(*batch, pos, d)`.
    """

    q: Array
    k: Array
    v: Array
    mlp: Array | None
    logits: Array


class Normed(eqx.Module):
    """What the norm takes away: `hat` `(layer, *batch, pos, d)`, and `along` `(layer, *batch, pos, slot)` times it."""

    hat: Array
    along: Array


class PathPoint(eqx.Module):
    """What one point gives: gradients, what senders write there, logits, and the metric's gradient in these."""

    reads: ReadGradients
    normed: Normed | None
    wrote: dict[str, Array]
    logits: Array
    slope: Array


def radau(count: int) -> tuple[np.ndarray, np.ndarray]:
    r"""$\int_0^1 f \approx \sum_k w_k f(\alpha_k)$ with $\alpha_n = 1$: `count` points, rising, and their weights.

    Radau's rule (https://mathworld.wolfram.com/RadauQuadrature.html), with its fixed point at the run itself. The
    other points are the zeros of the Jacobi polynomial that is orthogonal to lower degrees under $1 - \alpha$.

    Laws: exact for polynomials up to the degree $2n - 2$; all weights are positive; one point is 1, with weight 1.
    """
    if count == 1:
        return np.ones(1), np.ones(1)
    x, weight = scipy.special.roots_jacobi(count - 1, 1, 0)
    free = weight / (1 - x) / 2
    return np.append((1 + x) / 2, 1.0), np.append(free, 1 / count**2)


def is_plain(model: Any) -> bool:
    """Whether the blocks are those of `ji.nn`, whose matrices and norms bring gradients back."""
    return isinstance(model.blocks, Block)


def point(setup: Experiment, metric: Metric, edit: Towards, sending: tuple[str, ...]) -> PathPoint:
    """The gradients at one point; `sending` are the sites where senders write."""
    model = setup.model
    shapes, count = survey(model, setup.tokens), setup.graph.layers
    plain = is_plain(model)
    into = QKV if plain else tuple(f"{kind}_in" for kind in QKV)
    at = (*into, *["mlp_in"] * setup.graph.has_mlp, "resid_post")
    zeros = {site: jnp.zeros((count, *shapes[site].shape), shapes[site].dtype) for site in at}
    sees = [*QKV, "resid_pre"] if plain and model.blocks.ln1 is not None else []

    def value(probes: dict[str, Array]) -> tuple[Array, tuple[Array, Any]]:
        added = [
            Arithmetic(where=Where(), site=site, layers=None, value=probes[site], fn=as_if_added)
            for site in at
        ]
        capture = list(dict.fromkeys([*sees, *sending]))
        out, acts = run(
            model,
            setup.tokens,
            edits=[edit, *added],
            capture=capture,
            mask=setup.real,
            logits=positions(metric),
        )
        return metric.of(out).sum(), (out, acts)

    grads, (out, acts) = jax.grad(value, has_aux=True)(zeros)
    slope = jax.grad(lambda logits: metric.of(logits).sum())(out)
    wide = accumulation_dtype(out)
    grads = {site: grad.astype(wide) for site, grad in grads.items()}
    q, k, v = (grads[site] for site in into)
    reads = ReadGradients(q, k, v, grads.get("mlp_in"), grads["resid_post"][-1])
    wrote = {site: acts[site] for site in sending}
    if not sees:
        return PathPoint(reads, None, wrote, out, slope)
    reads, normed = _through_norm(model.blocks, reads, {site: acts[site].astype(wide) for site in sees})
    return PathPoint(reads, normed, wrote, out, slope)


def _through_norm(
    blocks: Block, reads: ReadGradients, acts: dict[str, Array]
) -> tuple[ReadGradients, Normed]:
    """Gradients at queries, keys and values as the module's text splits them."""
    norm, attn = blocks.ln1, blocks.attn
    assert norm is not None
    x = acts["resid_pre"]
    x = x - x.mean(-1, keepdims=True) if norm.centres else x
    scale = jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + norm.eps)
    found, along = {}, []
    for kind in QKV:
        y, own = getattr(reads, kind) / scale[..., None], acts[kind]
        for part in _constants(kind, norm.bias, attn, own.dtype):
            lead = (1,) * (own.ndim - 3)
            own = own - like(part.reshape(part.shape[0], *lead, *part.shape[1:]), own)
        found[kind] = y
        along.append((y * own).sum(-1) / x.shape[-1])
    reads = ReadGradients(found["q"], found["k"], found["v"], reads.mlp, reads.logits)
    return reads, Normed(x / scale, jnp.concatenate(along, -1))


def _constants(kind: str, bias: Array | None, attn: Any, dtype: Any) -> list[Array]:
    """What queries, keys or values are made of beside the normed stream, `(layer, head, k)`."""
    own, w = getattr(attn, f"b_{kind}"), getattr(attn, f"w_{kind}")
    parts = [] if own is None else [own.astype(dtype)]
    if bias is not None:
        parts.append(einsum("ld,lhdk->lhk", bias.astype(dtype), w.astype(dtype)))
    return parts


def streams(blocks: Any, reads: ReadGradients, normed: Normed | None) -> Array:
    """Gradients at what the heads of one layer read, `(slot, batch, pos, d)`: of queries, keys, then values.

    `reads` are of one layer, with one batch axis; `normed` those of several points, weighted.
    """
    if blocks is None:
        return jnp.concatenate([jnp.moveaxis(getattr(reads, kind), -2, 0) for kind in QKV])
    attn, norm = blocks.attn, blocks.ln1
    wide = reads.q.dtype
    parts = [
        einsum("bphk,hdk->hbpd", getattr(reads, kind), getattr(attn, f"w_{kind}").astype(wide))
        for kind in QKV
    ]
    found = jnp.concatenate(parts)
    if norm is None or normed is None:
        return found
    if norm.weight is not None:
        found = found * like(norm.weight.astype(wide), found)
    if norm.centres:
        found = found - found.mean(-1, keepdims=True)
    return found - einsum("nbpd,nbph->hbpd", normed.hat, normed.along)
