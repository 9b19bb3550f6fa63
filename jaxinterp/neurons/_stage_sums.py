"""What a batch says of each layer: entropy of the lens, norms, attention to what stands just before, likeness of layers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..core._engine import Engine
from ..core._request import make_request
from ..corpus._batches import Batch
from ..stats._hsic import unbiased_hsic

BEFORE = 5
"Tokens before a query whose attention is added up: Lad et al. 2024."
POINTS = 256
"Tokens of a batch whose Gram matrices are compared."


class StageSums(eqx.Module):
    """Sums over the predictions of each row, by layer; made for `stages`.

    `starts (vocab,)`: True at tokens that begin a word, or None.
    """

    model: Any
    starts: Any

    def __call__(self, batch: Batch, acts: Any) -> dict[str, Array]:
        """`lens (2, layer + 1, row)`, `norms (2, layer, row)`, `previous joined (layer, head, row)`, the
        numbers of tokens of each, and `hsic (layer + 1, layer + 1)`."""
        streams = jnp.concatenate([acts["resid_pre"], acts["resid_post[-1]"][None]])
        counted = batch.positions[:, :-1] & batch.mask[:, 1:]
        counted = jnp.pad(counted, ((0, 0), (0, 1)))
        total = lambda each: jnp.sum(jnp.where(counted, each, 0), -1, dtype=jnp.float32)
        found = {"lens": self._lens(streams, batch, total), "tokens": total(jnp.float32(1))}
        nothing = jnp.zeros_like(acts["attn_out"])  # of a model without MLPs
        both = acts.get("mlp_out", nothing), acts["attn_out"]
        sizes = [each.astype(jnp.float32) for each in both]
        norms = [jnp.sqrt(jnp.square(each).sum(-1)) for each in sizes]
        found["norms"] = jnp.stack([total(each) for each in norms])
        pattern = acts["pattern"].astype(jnp.float32)
        found |= _previous(pattern, batch, counted) | self._joined(pattern, batch, counted)
        found["hsic"] = _likeness(streams.astype(jnp.float32), counted)
        return found

    def _lens(self, streams: Array, batch: Batch, total: Any) -> Float[Array, "two row batch"]:
        request = make_request(self.model, streams[0], mask=batch.padding, logits=False)

        def logp(stream: Array) -> Array:
            logits = Engine(request).unembed(stream, True).astype(jnp.float32)
            return jax.nn.log_softmax(logits, -1)

        own = logp(streams[-1])
        weight = jnp.exp(own)

        def row(stream: Array) -> Array:
            here = logp(stream)
            entropy = -jnp.sum(jnp.exp(here) * here, -1) / jnp.log(jnp.float32(2))
            return jnp.stack([total(entropy), total(jnp.sum(weight * (own - here), -1))])

        return jnp.swapaxes(jax.lax.map(row, streams), 0, 1)

    def _joined(self, pattern: Array, batch: Batch, counted: Bool[Array, "row pos"]) -> dict[str, Array]:
        """Attention from the last token of a word of several tokens to the others."""
        if self.starts is None:
            return {}
        begins = self.starts[batch.tokens] | ~batch.mask
        word = jnp.cumsum(begins, -1)
        ends = jnp.concatenate([begins[:, 1:], jnp.ones_like(begins[:, :1])], -1)
        same = (word[:, :, None] == word[:, None, :]) & batch.mask[:, None, :] & batch.mask[:, :, None]
        earlier = same & jnp.tril(jnp.ones(same.shape[1:], bool), -1)[None]
        asks = counted & ends & earlier.any(-1)
        return {"joined": _mass(pattern, earlier, asks), "words": asks.sum(-1, dtype=jnp.float32)}


def _mass(pattern: Array, keys: Array, asks: Array) -> Float[Array, "layer head row"]:
    """Attention to `keys (row, query, key)`, summed over the queries that ask, `(row, query)`."""
    wanted = (keys & asks[..., None]).astype(jnp.float32)
    return jnp.einsum("lbhqk,bqk->lhb", pattern, wanted, precision="highest")


def _previous(pattern: Array, batch: Batch, counted: Bool[Array, "row pos"]) -> dict[str, Array]:
    """Attention to the tokens just before a query. The first token of a row is no such key: heads rest on it."""
    place = jnp.arange(pattern.shape[-1])
    back = place[:, None] - place[None]
    first = jnp.cumsum(batch.mask, -1) <= 1
    near = ((back >= 1) & (back <= BEFORE))[None] & (batch.mask & ~first)[:, None, :]
    asks = counted & near.any(-1)
    return {"previous": _mass(pattern, near, asks), "queries": asks.sum(-1, dtype=jnp.float32)}


def _likeness(streams: Array, counted: Bool[Array, "row pos"]) -> Float[Array, "a b"]:
    """The unbiased HSIC of all pairs of streams, linear kernels, of tokens evenly taken from the batch."""
    flat = streams.reshape(len(streams), -1, streams.shape[-1])
    counted, many = counted.reshape(-1), min(POINTS, flat.shape[1])
    # Those that count come first, each at its place, so that few are left out.
    order = jnp.argsort(~counted, stable=True)
    number = counted.sum()
    step = jnp.maximum(number // many, 1)
    chosen = order[jnp.minimum(jnp.arange(many) * step, flat.shape[1] - 1)]
    there = jnp.arange(many) * step < number
    x = jnp.where(there[None, :, None], flat[:, chosen], 0)
    # No mean changes HSIC; without it the sums are exact to more digits.
    x = jnp.where(
        there[None, :, None], x - x.sum(1, keepdims=True) / jnp.maximum(there.sum(dtype=x.dtype), 1), 0
    )
    gram = jnp.einsum("lnd,lmd->lnm", x, x, precision="highest")
    found = unbiased_hsic(gram, gram, there)
    return jnp.where(there.sum() > 3, found, jnp.zeros((), found.dtype))
