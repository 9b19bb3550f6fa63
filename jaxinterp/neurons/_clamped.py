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

    - `units values (n,)`: neurons of `layer`, and what each is set to at every position. All are traced.
    - `frequencies`: `Frequencies`, or None, which leaves out what is measured with them.
    - `layer`, `count`: the layer, and how many there are.
    - `chunk`: clamps whose last streams exist at a time; n is a multiple of it.
    - `block`: tokens whose logits exist at a time. On a CPU a block that fits its cache takes half the time.
    """

    model: Any
    units: Int[Array, " n"]
    values: Float[Array, " n"]
    frequencies: Any
    layer: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    block: int = eqx.field(static=True)

    @property
    def captures(self) -> list[str]:
        """What a fold captures for it."""
        before = [] if self.layer == self.count - 1 else [f"resid_pre[{self.layer}]"]
        return [*before, f"resid_post[{self.count - 1}]", f"mlp_post[{self.layer}]"]

    def __call__(self, batch: Batch, acts: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Sums `(row,)` of the model as it is, and of what changes `(n, row)`."""
        readout, rows = Readout.of(self.model), batch.tokens.shape
        stream = wide(acts[f"resid_post[{self.count - 1}]"])
        scale, target = readout.scale(stream)[..., 0], jnp.roll(batch.tokens, -1, 1)
        blocks = lambda x: _blocks(x.reshape(rows[0] * rows[1], *x.shape[2:]), self.block)
        tokens = (blocks(readout.numerator(stream)), blocks(scale), blocks(target))
        measure = _Measure(readout, readout.offset(), self.frequencies)
        found = jax.lax.map(lambda x: measure.as_is(*x), tokens)
        one = lambda x: x.reshape(-1)[: rows[0] * rows[1]].reshape(rows)
        total = lambda x: jnp.where(batch.positions, x, 0).sum(-1)

        def change(clamps: tuple[Array, Array]) -> dict[str, Array]:
            # (clamp, row, pos, ...), then (block, clamp, token, ...)
            new, steps, written = self._clamped(batch, acts, readout, stream, *clamps)
            own = readout.scale(new)[..., 0]
            ahead = lambda x: jnp.moveaxis(jax.vmap(blocks)(x), 0, 1)
            parts = (ahead(own), ahead(new if steps is None else steps))

            def at_block(x: Any) -> Any:
                tokens, base, parts = x
                return jax.lax.map(lambda one: measure.changed(tokens, base, *one), (*parts, written))

            each = jax.lax.map(at_block, (tokens, found, parts))
            return jax.tree.map(lambda x: jax.vmap(lambda y: total(one(y)))(jnp.moveaxis(x, 1, 0)), each)

        chunks = lambda x: x.reshape(-1, self.chunk)
        changes = jax.lax.map(change, (chunks(self.units), chunks(self.values)))
        sums = {name: total(one(x)) for name, x in found.items() if name != "along"}
        return sums, {name: x.reshape(-1, rows[0]) for name, x in changes.items()}

    def _clamped(
        self, batch: Batch, acts: Any, readout: Readout, stream: Array, units: Array, values: Array
    ) -> tuple[Array, Array | None, Array | None]:
        """Last streams `(clamp, row, pos, d)`; in the last layer also the steps `(clamp, row, pos)` of the neurons,
        and the numerators `(clamp, vocab)` of what one step writes."""
        if self.layer == self.count - 1:
            acts_here = jnp.moveaxis(wide(acts[f"mlp_post[{self.layer}]"])[..., units], -1, 0)
            steps = _like(values.astype(stream.dtype)[:, None, None], acts_here) - acts_here
            out = wide(self.model.blocks.mlp.w_out[self.layer][units])
            new = stream[None] + jnp.einsum("crp,cd->crpd", steps, out, precision="highest")
            return new, steps, readout.numerator(out)
        before, last = acts[f"resid_pre[{self.layer}]"], f"resid_post[{self.count - 1}]"
        how: dict[str, Any] = {"mask": batch.padding, "logits": False, "capture": [last]}

        def rerun(unit: Array, value: Array) -> Array:
            edit = replace("mlp_post", value, layer=self.layer, unit=unit)
            return wide(resume(self.model, before, self.layer, edits=[edit], **how)[1][last])

        return jax.vmap(rerun)(units, values), None, None


class _Measure(NamedTuple):
    """What is measured on the logits of a block of tokens `(token, vocab)`."""

    readout: Readout
    offset: Array
    frequencies: Any

    def as_is(self, numerator: Array, scale: Array, target: Array) -> dict[str, Array]:
        """As the model is, `(token,)` each."""
        z = self._logits(numerator, scale)
        found = {**_measured(z, target, self.frequencies), "scale": scale}
        return found if self.frequencies is None else {**found, "along": z @ self.frequencies.direction}

    def changed(
        self, tokens: Any, base: dict[str, Array], scale: Array, new: Array, written: Array | None
    ) -> dict[str, Array]:
        """What one clamp changes, `(token,)` each: `new` are its last streams, or steps along `written`."""
        numerator, before, target = tokens
        if written is None:
            numerator = self.readout.numerator(new)
        else:
            numerator = numerator + new[:, None] * _like(written, numerator)
        z = self._logits(numerator, scale)
        after = {**_measured(z, target, self.frequencies), "scale": scale}
        effect = lambda logits: jnp.abs(_loss(logits, target) - base["loss"])
        found = {name: after[name] - base[name] for name in after}
        found["total"] = jnp.abs(found["loss"])
        found["direct"] = effect(self._logits(numerator, before))
        if self.frequencies is not None:
            gap = base["along"] - z @ self.frequencies.direction
            found["restored"] = effect(z + gap[:, None] * _like(self.frequencies.direction, z))
        return found

    def _logits(self, numerator: Array, scale: Array) -> Array:
        return numerator / _like(scale[:, None], numerator) + _like(self.offset, numerator)


def _blocks(x: Array, block: int) -> Array:
    """`(token, ...)` as `(block, token, ...)`, filled up with ones, by which a scale may divide."""
    wide_by = [(0, -len(x) % block)] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, wide_by, constant_values=1).reshape(-1, block, *x.shape[1:])


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
    # A token is not above itself, which a program that computes its logit twice may find by rounding.
    others = jax.lax.broadcasted_iota(target.dtype, shifted.shape, shifted.ndim - 1) != target[..., None]
    above: Bool[Array, "..."] = others & (shifted > _like(picked[..., None], shifted))
    rank = 1 + above.sum(-1).astype(logits.dtype)
    found = {"loss": log_mass - picked, "entropy": entropy, "rank": rank, "reciprocal_rank": 1 / rank}
    if frequencies is not None:
        log = frequencies.log
        own = jnp.exp(log)
        found["to_unigram"] = -entropy - (weights @ log) / mass
        found["from_unigram"] = (own * log).sum() - shifted @ own + log_mass
    return found
