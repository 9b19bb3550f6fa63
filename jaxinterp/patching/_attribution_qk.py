r"""The query/key correction of AtP*: the softmax is passed exactly, all beyond it to first order.

For a query, and for all keys of a head at once, the pattern $A'$ is recomputed with them alone
exchanged, and the effect is $\sum (A' - A)\, \partial m / \partial A$. For one key $t$, in a row with
the other entries' weighted mean gradient $\bar g = \sum_{j \ne t} A_j g_j / \sum_{j \ne t} A_j$, the
exchange moves weight between $t$ and the others in proportion, so that

$$\sum_j (A'_j - A_j)\, g_j = (A'_t - A_t)\,(g_t - \bar g), \qquad
A_t = \sigma\Big(s_t - \log \sum_{j \ne t} e^{s_j}\Big).$$

That is exact, needs no new pattern for each key, and is as good where attention is saturated.
Kramar et al. 2024, https://arxiv.org/abs/2403.00745.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..core._edits import replace
from ..core._run import run

QUERIES = ("q_in", "q", "q_rot")
KEYS = ("k_in", "k", "k_rot")


def one_reader(
    model: Any, tokens: Any, site: str, source: Array, resid_pre: Array, what: str, mask: Any
) -> Array:
    """`what` (pattern or scores) in every block, with the queries or keys of `source` alone.

    Each block starts from the residual stream of the unpatched run, so that nothing adds up.
    """
    edits = [replace("resid_pre", resid_pre), replace(site, source)]
    _, acts = run(model, tokens, edits=edits, capture=[what], mask=mask, logits=False)
    return acts[what]


def key_effects(
    gradient: Float[Array, "*lead query key"],
    scores: Float[Array, "*lead query key"],
    exchanged: Float[Array, "*lead query key"],
    allowed: Any,
) -> Float[Array, "*lead key"]:
    """The effect of each key exchanged alone: column t of `exchanged` has the scores of key t."""
    low = jnp.finfo(scores.dtype).min
    if allowed is not None:
        allowed = jnp.broadcast_to(jnp.expand_dims(allowed, -3), scores.shape)
        scores = jnp.where(allowed, scores, low)
        exchanged = jnp.where(allowed, exchanged, low)
    others, mean = _all_but_one(scores, gradient)
    shift = jax.nn.sigmoid(exchanged - others) - jax.nn.sigmoid(scores - others)
    return (shift * (gradient - mean)).sum(-2)


def _all_but_one(scores: Array, values: Array) -> tuple[Array, Array]:
    r"""Along the last axis, of all entries but each: $\log \sum e^{s}$, and the mean weighted by it.

    From running means of what is before and what is after: nothing is subtracted, so nothing
    cancels where one entry has nearly all the weight.
    """

    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        share = jax.nn.sigmoid(b[0] - a[0])
        return jnp.logaddexp(a[0], b[0]), a[1] + (b[1] - a[1]) * share

    def shifted(running: tuple[Array, Array], after: bool) -> tuple[Array, Array]:
        log, mean = running
        keep = slice(1, None) if after else slice(None, -1)
        pad = [(0, 0)] * (log.ndim - 1) + [(0, 1) if after else (1, 0)]
        return (
            jnp.pad(log[..., keep], pad, constant_values=jnp.finfo(log.dtype).min),
            jnp.pad(mean[..., keep], pad),
        )

    pair, axis = (scores, values), scores.ndim - 1
    before = shifted(lax.associative_scan(join, pair, axis=axis), after=False)
    after = shifted(lax.associative_scan(join, pair, axis=axis, reverse=True), after=True)
    return join(before, after)
