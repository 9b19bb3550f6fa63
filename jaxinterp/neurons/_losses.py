"""Next-token losses of contexts, with sets of neurons held at given values."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..core._check import check_predicts_tokens
from ..core._edits import add, scale
from ..core._intervene import config_of
from ..core._listing import sites
from ..core._run import run
from ..corpus._batches import Batch


class GroupLosses(eqx.Module):
    """Sums of nats over the tokens that count, `(row,)` as the model is and `(group, row)` ablated.

    `layers units values (1 + group, member)`: of each group of neurons its members, and what each is
    set to; a layer beyond the last is no neuron, and the first group has none. All are traced: one
    program serves all groups, and the model as it is.
    """

    model: Any
    layers: Any
    units: Any
    values: Any
    site: str = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> tuple[Any, Any]:
        model, site = self.model, self.site
        check_predicts_tokens(config_of(model), "An ablation is measured by losses of next tokens")
        tokens, target = batch.tokens, batch.positions[:, 1:]
        stack = sites(model, tokens)[site]
        shape = (stack.shape[0], stack.shape[-1])

        def ablated(group: Any) -> Any:
            # x -> keep * x + value: 1 and 0 wherever nothing is ablated.
            where = group[0], group[1]
            keep = jnp.ones(shape, stack.dtype).at[where].set(0, mode="drop")
            value = jnp.zeros(shape, stack.dtype).at[where].set(group[2].astype(stack.dtype), mode="drop")
            wide = lambda x: x[:, None, None, :]
            edits = [scale(site, wide(keep)), add(site, wide(value))]
            logits, _ = run(model, tokens, edits=edits, mask=batch.padding)
            logits = logits[:, :-1].astype(jnp.float32)
            picked = jnp.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
            each = jax.nn.logsumexp(logits, -1) - picked
            return jnp.where(target, each, 0).sum(1)

        nats = jax.lax.map(ablated, (self.layers, self.units, self.values))
        return nats[0], nats[1:]


def grouped(
    neurons: np.ndarray, values: np.ndarray, groups: list[list[int]], layers: int
) -> tuple[Any, Any, Any]:
    """Groups of numbers of neurons as arrays `(1 + group, member)`, the first without a neuron."""
    groups = [[], *groups]
    width = max(1, *(len(group) for group in groups))
    at = np.full((len(groups), width, 2), layers, np.int32)
    to = np.zeros((len(groups), width), np.float32)
    for g, group in enumerate(groups):
        at[g, : len(group)], to[g, : len(group)] = neurons[group], values[group]
    return jnp.asarray(at[..., 0]), jnp.asarray(at[..., 1]), jnp.asarray(to)


def check_losses(nats: Any) -> None:
    """Raises where what the model as it is loses is not finite: every change of it would be NaN."""
    if not np.isfinite(nats).all():
        raise ValueError(
            "The losses of the model are NaN or infinite: are its weights finite, and does the dtype reach?"
        )
