"""What interventions on layers do to predictions: one program for all of them, batch by batch."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core._engine import Engine
from ..core._request import make_request
from ..corpus._batches import Batch

MEASURES = ("kl", "loss", "entropy", "agreement")
"Nats from the model's distribution, nats of the next token, bits of entropy, the same first choice."


class LayerEffects(eqx.Module):
    r"""Sums over the predictions of each row: `(2, row)` of the model as it is (loss, entropy), and `(n, measure, row)`.

    Each intervention resumes from the clean run's stream before its first block that differs, so that
    no block runs twice for nothing. `order (n, turn)`, `start stop (n,)` as in `LayerOrders`.
    """

    model: Any
    order: Any
    start: Any
    stop: Any

    def __call__(self, batch: Batch, acts: Any) -> tuple[Float[Array, "two row"], Float[Array, "n m row"]]:
        streams = jnp.concatenate([acts["resid_pre"], acts["resid_post[-1]"][None]])
        request = make_request(self.model, streams[0], mask=batch.padding, logits=False)
        edits = tuple(edit.traced_layers() for edit in request.edits)
        request = eqx.tree_at(lambda r: r.edits, request, edits)
        if jax.tree.leaves(Engine(request).states):
            raise ValueError(
                "An edit that carries a state from block to block, such as an edge mask, has no meaning where "
                "blocks are left out or repeated. Take the model without it."
            )
        _, ctx = request.context()
        counted = batch.positions[:, :-1] & batch.mask[:, 1:]
        target = batch.tokens[:, 1:, None]

        def predicted(stream: Any) -> Any:
            """Log probabilities `(row, pos - 1, vocab)` of the next token."""
            logits = Engine(request).unembed(stream, True)[:, :-1]
            return jax.nn.log_softmax(logits.astype(jnp.float32), -1)

        nats = lambda logp: -jnp.take_along_axis(logp, target, -1)[..., 0]
        bits = lambda logp: -jnp.sum(jnp.exp(logp) * logp, -1) / jnp.log(jnp.float32(2))
        total = lambda each: jnp.sum(jnp.where(counted, each, 0), -1, dtype=jnp.float32)
        clean = predicted(streams[-1])
        best, weight = jnp.argmax(clean, -1), jnp.exp(clean)

        def effect(one: Any) -> Any:
            order, start, stop = one
            stream = jax.lax.dynamic_index_in_dim(streams, start, keepdims=False)
            visit = lambda turn, x: Engine(request).run_block(x, ctx, order[turn])[0]
            logp = predicted(jax.lax.fori_loop(start, stop, visit, stream))
            same = (jnp.argmax(logp, -1) == best).astype(jnp.float32)
            found = jnp.sum(weight * (clean - logp), -1), nats(logp) - nats(clean), bits(logp), same
            return jnp.stack([total(each) for each in found])

        as_is = jnp.stack([total(nats(clean)), total(bits(clean))])
        return as_is, jax.lax.map(effect, (self.order, self.start, self.stop))
