"""Activations of chosen neurons, one batch of contexts at a time."""

from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..core._intervene import split_edits
from ..core._run import run
from ..corpus._progress import watched
from ._address import batch_size, units_of
from ._contexts import Contexts


@eqx.filter_jit
def _read(
    model: Any,
    tokens: Int[Array, "seq pos"],
    real: Bool[Array, "seq pos"] | None,
    neurons: Int[Array, "neuron 2"],
    site: str,
) -> Float[Array, "neuron seq pos"]:
    """The one program that runs the model: all studies of activations share it."""
    _, acts = run(model, tokens, capture=[site], mask=real, logits=False)
    return acts[site][neurons[:, 0], :, :, neurons[:, 1]].astype(jnp.float32)


def batches(
    model: Any,
    contexts: Contexts,
    site: str,
    batch: int | None,
    what: str,
    progress: bool,
    width: int = 0,
) -> Iterable[Any]:
    """`(rows, arrays)` of each batch, with a bar, of a size that keeps what a pass holds small."""
    layers, units = units_of(model, site)
    widest = max(layers * units, width)
    size = batch_size(model, batch, contexts.tokens.shape[1], widest, len(contexts))
    told = needs_mask(model, contexts)
    steps = (
        (rows, {k: None if k == "real" and not told else jnp.asarray(v) for k, v in part.items()})
        for rows, part in contexts.batches(size)
    )
    return watched(steps, -(-len(contexts) // size), what, progress)


def readings(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    site: str,
    batch: int | None,
    what: str,
    progress: bool,
) -> Iterator[Any]:
    """`(rows, arrays, x)` of each batch, with the activations x `(neuron, seq, pos)` on the device."""
    chosen = jnp.asarray(neurons)
    for rows, part in batches(model, contexts, site, batch, what, progress):
        yield rows, part, _read(model, part["tokens"], part["real"], chosen, site)


def needs_mask(model: Any, contexts: Contexts) -> bool:
    """Whether the model must be told what is padding: a causal one not, where it is on the right."""
    base, _ = split_edits(model)
    padding = ~contexts.real
    right = (np.maximum.accumulate(padding, 1) == padding).all()
    return bool(padding.any() and not (base.config.causal and right))


def values(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    site: str,
    *,
    batch: int | None = None,
    progress: bool = True,
    what: str = "activations",
) -> np.ndarray:
    """`(token, neuron)`: the neurons at every position that counts, in the order of contexts."""
    found = []
    for _, part, x in readings(model, contexts, neurons, site, batch, what, progress):
        found.append(np.moveaxis(np.asarray(x), 0, -1)[np.asarray(part["counted"])])
    return np.concatenate(found)
