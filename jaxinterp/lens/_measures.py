r"""What a summary says of logits, and $\mathrm{KL}(p \,\|\, q)$ of log-probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._top import top_of_rows
from ..mesh._top import top_over_mesh


def measures(logits: Array, own: Array, targets: Array | None, count: int) -> dict[str, Array]:
    """What a `Summary` says of the logits of one row; `own` are the model's log-probabilities."""
    # The likeliest first: with their logit as the maximum, no pass over the vocabulary looks for it.
    logits = logits.astype(np.promote_types(logits.dtype, np.float32))
    best, ids = top_tokens(logits, count)
    top = jnp.where(jnp.isfinite(best[..., :1]), best[..., :1], 0)
    shifted = logits - jnp.broadcast_to(lax.stop_gradient(top), logits.shape)
    total = jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    logprobs = shifted - jnp.broadcast_to(total, shifted.shape)
    best = best - jnp.broadcast_to(top, best.shape) - jnp.broadcast_to(total, best.shape)
    out = {
        "top_ids": ids.astype(jnp.int32),
        "top_probs": jnp.exp(best),
        "entropy": -(jnp.exp(logprobs) * logprobs).sum(-1),
        "kl": kl(own, logprobs),
    }
    if targets is not None:
        chosen = jnp.take_along_axis(logprobs, jnp.maximum(targets, 0)[..., None], -1)
        likelier = logprobs > jnp.broadcast_to(chosen, logprobs.shape)
        rank = likelier.sum(-1, dtype=jnp.int32)
        none = targets < 0
        out["cross_entropy"] = jnp.where(none, jnp.nan, -chosen[..., 0])
        # Nothing is likelier than NaN, which would make it the first.
        none = none | jnp.isnan(chosen[..., 0])
        out["rank"] = jnp.where(none, -1, rank)
    return out


def top_tokens(
    logits: Float[Array, "*batch vocab"], count: int
) -> tuple[Float[Array, "*batch top"], Int[Array, "*batch top"]]:
    """The largest logits, best first, and their tokens; on a mesh, each device reads its own part."""
    return top_over_mesh(logits, count) or top_of_rows(logits, count)


def log_softmax(logits: Float[Array, "*batch vocab"]) -> Float[Array, "*batch vocab"]:
    """Log-probabilities in float32 at least."""
    wide = np.promote_types(logits.dtype, np.float32)
    return jax.nn.log_softmax(logits.astype(wide), axis=-1)


def kl(p: Float[Array, "*batch vocab"], q: Float[Array, "*batch vocab"]) -> Float[Array, "*batch"]:
    r"""$\sum_v p_v (\log p_v - \log q_v)$ of log-probabilities."""
    return (jnp.exp(p) * (p - q)).sum(-1)
