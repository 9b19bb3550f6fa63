"""What a context neuron carries, and on which path: losses of five runs, token by token."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..core._edits import add, scale
from ..core._engine import Engine
from ..core._listing import sites
from ..core._request import make_request
from ..core._run import run
from ..corpus._batches import Batch

RUNS = ("original", "activated", "ablated", "direct", "indirect")
"As the model is; the neuron set to its active and its inactive value; only one of its paths active."


class ContextPaths(eqx.Module):
    r"""Nats of each next token, `(run, row, pos - 1)`, and what neurons behind it add to $\log p$, `(layer, ff)`.

    What a neuron writes is `value * w_out`. So the run in which only its direct path is active has the last
    stream of the ablated run plus `(active - inactive) * w_out`, and the other way round: nothing behind it
    changes. All numbers are traced: one program serves all neurons and values.
    """

    model: Any
    layer: Any
    unit: Any
    active: Any
    inactive: Any

    def __call__(self, batch: Batch, acts: Any) -> tuple[Array, Array]:
        model, tokens, real = self.model, batch.tokens, batch.padding
        w_out = model.blocks.mlp.w_out
        shape = sites(model, tokens)["mlp_post"]
        units = (shape.shape[0], shape.shape[-1])
        here = jnp.zeros(units, shape.dtype).at[self.layer, self.unit].set(1)[:, None, None, :]
        captures = ["resid_post[-1]", "mlp_post"]

        def clamped(value: Any) -> Any:
            edits = [scale("mlp_post", 1 - here), add("mlp_post", here * value.astype(here.dtype))]
            return run(model, tokens, edits=edits, capture=captures, mask=real, logits=False)[1]

        _, plain = run(model, tokens, capture=captures[:1], mask=real, logits=False)
        on, off = clamped(self.active), clamped(self.inactive)
        last = [each["resid_post[-1]"] for each in (plain, on, off)]
        step = ((self.active - self.inactive) * w_out[self.layer, self.unit].astype(jnp.float32)).astype(
            last[0].dtype
        )
        request = make_request(model, last[0], mask=real, logits=False)

        def nats(stream: Array) -> Array:
            logits = Engine(request).unembed(stream, True)[:, :-1].astype(jnp.float32)
            picked = jnp.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
            return jax.nn.logsumexp(logits, -1) - picked

        step = jnp.broadcast_to(step, last[0].shape)
        losses = jax.lax.map(nats, jnp.stack([*last, last[2] + step, last[1] - step]))
        counted = batch.positions[:, 1:]
        slope = -jax.grad(lambda stream: jnp.sum(jnp.where(counted, nats(stream), 0)))(last[1])
        change = (on["mlp_post"] - off["mlp_post"]).astype(jnp.float32)
        behind = jnp.arange(units[0], dtype=jnp.int32) > self.layer
        sums = jnp.einsum("lbpf,bpd->lfd", change, slope.astype(jnp.float32), precision="highest")
        added = jnp.einsum("lfd,lfd->lf", sums, w_out.astype(jnp.float32), precision="highest")
        return losses, jnp.where(behind[:, None], added, 0)
