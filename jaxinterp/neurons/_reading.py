"""Activations of chosen neurons, folded over contexts."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core._intervene import config_of
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._fold import folded
from ._address import units_of
from ._contexts import Contexts
from ._losses import check_losses


class ChosenNeurons(eqx.Module):
    """What leaves the device of a batch: the chosen neurons, `(neuron, row, pos)` in float32, and whether
    all that counts is finite."""

    neurons: Any  # (neuron, 2)
    site: str = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> tuple[Float[Array, "neuron row pos"], Bool[Array, ""]]:
        x = acts[self.site][self.neurons[:, 0], :, :, self.neurons[:, 1]].astype(jnp.float32)
        return x, jnp.isfinite(jnp.where(batch.positions[None], x, 0)).all()


def batches_of(
    model: Any, contexts: Contexts, site: str, batch_size: int | str | None, width: int = 0
) -> CorpusBatches:
    """Contexts in batches that keep what a pass holds small; `batch.extra` is the class of each row."""
    layers, units = units_of(model, site)
    widest = max(layers * units, width)
    return CorpusBatches(contexts.corpus, model, batch_size, extra=contexts.label, width=widest)


def fold_neurons(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    site: str,
    init: Any,
    step: Any,
    *,
    batch_size: int | str | None,
    progress: bool | str,
    checkpoint: Any = None,
) -> Any:
    """Folds `step(state, batch, x)` over contexts, x the activations `(neuron, row, pos)` on the device.

    Raises ValueError for activations that are not finite, once all are read; with a checkpoint at once, so that a file
    holds finite ones alone.
    """
    parts = batches_of(model, contexts, site, batch_size)
    read = ChosenNeurons(jnp.asarray(neurons), site)
    finite: list[Any] = []  # on the device, so that no batch waits for the one before

    def own(state: Any, batch: Batch, values: Any) -> Any:
        finite.append(values[1])
        if checkpoint is not None:
            _check_finite(finite[-1:])
        return step(state, batch, values[0])

    found = folded(parts, model, [site], init, own, per_batch=read, checkpoint=checkpoint, progress=progress)
    _check_finite(finite)
    return found


def _check_finite(finite: list[Any]) -> None:
    if not np.all(finite):
        raise ValueError("Activations are NaN or infinite: are the weights finite, and does the dtype reach?")


def fold_losses(
    model: Any,
    contexts: Contexts,
    site: str,
    losses: Any,
    init: Any,
    step: Any,
    *,
    batch_size: int | str | None,
    progress: bool | str,
) -> Any:
    """Folds `step(state, rows, (as it is, ablated))` over contexts, sums of nats of each row."""
    parts = batches_of(model, contexts, site, batch_size, 2 * int(config_of(model).vocab))

    def own(state: Any, batch: Batch, values: Any) -> Any:
        rows = parts.rows_of(int(batch.number))
        as_is, ablated = (np.asarray(x, np.float64)[..., : len(rows)] for x in values)
        check_losses(as_is)
        return step(state, rows, as_is, ablated)

    return folded(parts, model, [], init, own, per_batch=losses, progress=progress)


def values(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    site: str,
    *,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> np.ndarray:
    """`(token, neuron)`: the neurons at every position that counts, in the order of contexts."""

    def step(parts: list[np.ndarray], batch: Batch, x: Any) -> list[np.ndarray]:
        return [*parts, np.moveaxis(np.asarray(x), 0, -1)[np.asarray(batch.positions)]]

    name = "activations" if progress else False
    how: dict[str, Any] = {"batch_size": batch_size, "progress": name}
    return np.concatenate(fold_neurons(model, contexts, neurons, site, [], step, **how))
