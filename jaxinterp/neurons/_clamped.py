r"""Predictions with one neuron held at a value: the whole effect, and the part that is left when a scale is held.

With the last stream $x$, what it is without the neuron $x'$, and the scale $s$ of the last norm,

$$z' = \frac{n(x')}{s(x')} + o, \qquad z^{direct} = \frac{n(x')}{s(x)} + o,$$

where $n$ is linear. In the last layer $x' = x + (v - a)\,w^{out}$, so that $n(x') = n(x) + (v - a)\,n(w^{out})$: a
change of rank one, and nothing runs again. In an earlier layer the layers after it run again with an edit.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core._edits import replace
from ..core._run import resume
from ..corpus._batches import Batch
from ..weights._leaves import wide
from ._unembedding import Readout


class Frequencies(NamedTuple):
    """Log probabilities of tokens `(vocab,)`, and the direction that they have among logits, of norm 1."""

    log: Any
    direction: Any


class ClampedRun(eqx.Module):
    """Sums over the positions of a batch that count: as the model is, and what each clamp changes.

    - `units values (n,)`: neurons of `layer`, and what each is held at at every position. All are traced, and n
      is a multiple of `chunk`, the clamps that are measured at a time.
    - `frequencies`: `Frequencies`, or None, which leaves out what is measured with them.
    - `layer`, `count`: the layer, and how many there are.
    """

    model: Any
    units: Int[Array, " n"]
    values: Float[Array, " n"]
    frequencies: Any
    layer: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    chunk: int = eqx.field(static=True)

    @property
    def captures(self) -> list[str]:
        """What a fold captures for it."""
        before = [] if self.layer == self.count - 1 else [f"resid_pre[{self.layer}]"]
        return [*before, f"resid_post[{self.count - 1}]", f"mlp_post[{self.layer}]"]

    def __call__(self, batch: Batch, acts: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Sums `(row,)` of the model as it is, and of what changes `(n, row)`."""
        readout, target = Readout.of(self.model), jnp.roll(batch.tokens, -1, 1)
        stream = wide(acts[f"resid_post[{self.count - 1}]"])
        numerator, scale, offset = readout.numerator(stream), readout.scale(stream), readout.offset()
        total = lambda x: jnp.where(batch.positions, x, 0).sum(-1)

        def logits(numerator: Array, scale: Array) -> Array:
            return numerator / _like(scale, numerator) + _like(offset, numerator)

        as_is = logits(numerator, scale)
        base = {**_measured(as_is, target, self.frequencies), "scale": scale[..., 0]}

        def change(clamp: tuple[Array, Array]) -> dict[str, Array]:
            new, changed = self._clamped(batch, acts, readout, stream, numerator, *clamp)
            own = readout.scale(new)
            z = logits(changed, own)
            after = {**_measured(z, target, self.frequencies), "scale": own[..., 0]}
            found = {name: total(after[name] - base[name]) for name in base}
            found["total"] = total(jnp.abs(after["loss"] - base["loss"]))
            found["direct"] = total(jnp.abs(_loss(logits(changed, scale), target) - base["loss"]))
            if self.frequencies is not None:
                gap = (as_is - z) @ self.frequencies.direction
                restored = z + gap[..., None] * _like(self.frequencies.direction, z)
                found["restored"] = total(jnp.abs(_loss(restored, target) - base["loss"]))
            return found

        changes = jax.lax.map(change, (self.units, self.values), batch_size=self.chunk)
        return {name: total(x) for name, x in base.items()}, changes

    def _clamped(
        self,
        batch: Batch,
        acts: Any,
        readout: Readout,
        stream: Array,
        numerator: Array,
        unit: Array,
        value: Array,
    ) -> tuple[Array, Array]:
        """The last stream with one neuron held, and its numerator."""
        if self.layer == self.count - 1:
            step = value.astype(stream.dtype) - wide(acts[f"mlp_post[{self.layer}]"])[..., unit]
            out = wide(self.model.blocks.mlp.w_out[self.layer][unit])
            new = stream + step[..., None] * _like(out, stream)
            return new, numerator + step[..., None] * _like(readout.numerator(out), numerator)
        edit = replace("mlp_post", value, layer=self.layer, unit=unit)
        last = f"resid_post[{self.count - 1}]"
        before = acts[f"resid_pre[{self.layer}]"]
        how: dict[str, Any] = {"mask": batch.padding, "logits": False, "capture": [last]}
        new = wide(resume(self.model, before, self.layer, edits=[edit], **how)[1][last])
        return new, readout.numerator(new)


def _like(x: Array, other: Array) -> Array:
    return jnp.broadcast_to(x, other.shape)


def _shifted(logits: Array, target: Array) -> tuple[Array, Array]:
    """Logits minus their largest, and those of the next tokens."""
    shifted = logits - _like(jax.lax.stop_gradient(logits.max(-1, keepdims=True)), logits)
    return shifted, jnp.take_along_axis(shifted, target[..., None], -1)[..., 0]


def _loss(logits: Array, target: Array) -> Array:
    """Nats of the next tokens."""
    shifted, picked = _shifted(logits, target)
    return jnp.log(jnp.exp(shifted).sum(-1)) - picked


def _measured(logits: Array, target: Array, frequencies: Any) -> dict[str, Array]:
    """Loss, entropy, rank of the next token and its reciprocal, and divergences from token frequencies."""
    shifted, picked = _shifted(logits, target)
    weights = jnp.exp(shifted)
    mass = weights.sum(-1)
    log_mass = jnp.log(mass)
    entropy = log_mass - (weights * shifted).sum(-1) / mass
    above: Bool[Array, "..."] = shifted > _like(picked[..., None], shifted)
    rank = 1 + above.sum(-1).astype(logits.dtype)
    found = {"loss": log_mass - picked, "entropy": entropy, "rank": rank, "reciprocal_rank": 1 / rank}
    if frequencies is not None:
        log = frequencies.log
        own = jnp.exp(log)
        found["to_unigram"] = -entropy - (weights @ log) / mass
        found["from_unigram"] = (own * log).sum() - shifted @ own + log_mass
    return found
