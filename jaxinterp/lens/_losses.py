r"""The losses of all translators of a tuned lens, and their gradients.

One scan over layers takes loss and gradient of each, so that logits of one layer exist at a time, and of many
positions only those of a chunk.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._check import logit_count
from ..core._intervene import config_of
from ._chunks import sum_of_chunks
from ._measures import kl, log_softmax
from ._read import Streams, capture, unembed, with_logits
from ._tuned import TunedLens


def losses_and_grads(
    lens: TunedLens,
    model: Any,
    tokens: Array,
    mask: Array | None,
    loss: str,
    rows_at_once: int | None = None,
) -> tuple[Float[Array, " layer"], TunedLens]:
    """Each layer's mean loss over real positions, and its gradient for that layer's translator."""
    weight = weights_of(tokens, mask, loss)
    share = weight / weight.sum()
    if rows_at_once is None:
        return _part(lens, model, tokens, mask, share, loss)

    def split(x: Array | None) -> Any:
        return None if x is None else x.reshape(-1, rows_at_once, *x.shape[1:])

    def one(part: Any) -> Any:
        tokens, mask, share = part
        return _part(lens, model, tokens, mask, share, loss)

    def add(total: Any, part: Any) -> Any:
        return jax.tree.map(jnp.add, total, one(part)), None

    parts = (split(tokens), split(mask), split(share))
    first = jax.tree.map(lambda x: x[0], parts)
    rest = jax.tree.map(lambda x: x[1:], parts)
    return lax.scan(add, one(first), rest)[0]


def weights_of(tokens: Array, mask: Array | None, loss: str) -> Float[Array, "*batch pos"]:
    """1 where a position counts: real, and for a next-token loss with a real token behind it."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    shape = tokens.shape[:-1] if soft else tokens.shape
    weight = jnp.ones(shape, jnp.float32) if mask is None else mask.astype(jnp.float32)
    if loss == "ce":
        later = jnp.concatenate([weight[..., 1:], jnp.zeros_like(weight[..., :1])], -1)
        weight = weight * later
    return weight


def _part(
    lens: TunedLens,
    model: Any,
    tokens: Array,
    mask: Array | None,
    share: Float[Array, "*batch pos"],
    loss: str,
) -> tuple[Float[Array, " layer"], TunedLens]:
    if loss == "ce" and jnp.issubdtype(tokens.dtype, jnp.floating):
        raise ValueError("Embeddings have no next token to predict: train with loss='kl'.")
    streams = capture(model, tokens, lens, mask=mask, own=False)
    targets = None
    if loss == "ce":  # the last position has no weight, whatever stands there
        targets = jnp.concatenate([tokens[..., 1:], tokens[..., :1]], axis=-1)
    nats = np.promote_types(streams.after.dtype, np.float32)
    first = jnp.zeros(len(lens.bias), nats), jax.tree.map(jnp.zeros_like, lens)
    add = functools.partial(_added, lens)
    return sum_of_chunks(add, first, streams, share, targets, logit_count(config_of(model)))


def _added(
    lens: TunedLens,
    total: tuple[Float[Array, " layer"], TunedLens],
    streams: Streams,
    share: Float[Array, "*batch pos"],
    targets: Int[Array, "*batch pos"] | None,
) -> tuple[Float[Array, " layer"], TunedLens]:
    """`total` plus the losses and gradients at these positions. `targets` None: from the model's own logits."""
    own = None
    if targets is None:
        logits = with_logits(streams).logits
        assert logits is not None
        own = log_softmax(logits)

    def layer_loss(parameters: Any, x: Array) -> Array:
        x = lax.optimization_barrier(lens.translate(parameters, x))
        logprobs = log_softmax(unembed(streams.reader, x))
        if own is not None:
            nats = kl(own, logprobs)
        else:
            assert targets is not None
            nats = -jnp.take_along_axis(logprobs, targets[..., None], -1)[..., 0]
        return (share.astype(nats.dtype) * nats).sum()

    def step(total: Any, xs: Any) -> Any:
        at, parameters, x = xs
        losses, grads = total
        loss, slope = jax.value_and_grad(layer_loss)(parameters, x)
        # In place: of the gradients of all layers there is one copy.
        grads = jax.tree.map(lambda grad, new: grad.at[at].add(new), grads, TunedLens(*slope))
        return (losses.at[at].add(loss), grads), None

    layers = jnp.arange(len(lens.bias), dtype=jnp.int32)
    return lax.scan(step, total, (layers, lens.parameters(), streams.rows))[0]
