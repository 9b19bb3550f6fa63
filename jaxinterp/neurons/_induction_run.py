"""Runs on tokens that come again: activations of neurons, clamps of neurons, and heads moved to the first token."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..core._edits import replace
from ..core._run import resume, run
from ..corpus._batches import Batch
from ..weights._leaves import wide


class FirstRun(eqx.Module):
    """Activations `(n, row, pos)` of neurons."""

    neurons: Any
    layers: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> Array:
        return _picked(acts, self.neurons, self.layers)


class SecondRun(eqx.Module):
    """Entropies and losses by position, with and without clamps, and activations under ablated heads."""

    model: Any
    neurons: Any
    values: Any
    heads: Any
    second: Any
    layers: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> Any:
        model, tokens = self.model, batch.tokens

        def clamped(one: Any) -> Any:
            (layer, unit), value = one
            edit = replace("mlp_post", value, layer=layer, unit=unit, pos=self.second)
            logits, _ = resume(model, acts["resid_pre"][layer], layer, edits=[edit])
            return _curves(logits, tokens)

        def ablated(head: Any) -> Any:
            first = jnp.zeros(tokens.shape[1], acts["resid_pre"].dtype).at[0].set(1)
            edit = replace("pattern", first, layer=head[0], head=head[1])
            names = [f"mlp_post[{layer}]" for layer in self.layers]
            how: dict[str, Any] = {"edits": [edit], "capture": names, "logits": False}
            _, new = resume(model, acts["resid_pre"][head[0]], head[0], **how)
            change = _picked(new, self.neurons, self.layers) - _picked(acts, self.neurons, self.layers)
            inside = jnp.broadcast_to(self.second, change.shape)
            return change.mean(-1, where=inside)

        logits, _ = run(model, tokens)
        changes = jax.lax.map(ablated, self.heads) if self.heads.shape[0] else None
        return _curves(logits, tokens), jax.lax.map(clamped, (self.neurons, self.values)), changes


def _picked(acts: Any, neurons: Array, layers: tuple[int, ...]) -> Array:
    """Activations `(n, row, pos)` of neurons, from those of their layers."""
    stacked = jnp.stack([wide(acts[f"mlp_post[{layer}]"]) for layer in layers])
    at = jnp.searchsorted(jnp.asarray(layers, jnp.int32), neurons[:, 0])
    return stacked[at, :, :, neurons[:, 1]]


def _curves(logits: Array, tokens: Array) -> tuple[Array, Array]:
    """Entropy and loss `(row, pos)`; NaN for the loss at the last position."""
    log = jax.nn.log_softmax(wide(logits))
    entropy = -(jnp.exp(log) * log).sum(-1)
    loss = -jnp.take_along_axis(log[:, :-1], tokens[:, 1:, None], -1)[..., 0]
    return entropy, jnp.pad(loss, ((0, 0), (0, 1)), constant_values=jnp.nan)
