"""One step of a dictionary: its gradient, and the counts of features that do not fire."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ...fit._state import Now, State, initial_state
from ...fit._step import Slope, Task
from ...mesh._dictionaries import constrained
from ...typing import ArrayLike, OptimizerLike, PyTree
from ..kinds._losses import Progress, firing
from ..kinds._rows import align


class Counts(eqx.Module):
    """What the training of a dictionary carries besides its weights.

    - `silent`: `(feature,)`, or `(member, feature)`: for how many steps each feature has not fired.
    """

    silent: Int[Array, "*member feature"]


class DictionaryTask(Task):
    """The loss of one dictionary.

    - `optimizer`: any of optax, for the leaves that are trained.
    - `site`: the key of its rows in the batch.
    - `steps`: of the whole training, for warm-ups.
    - `dead_after`: after so many steps without firing a feature is dead.
    """

    optimizer: Any
    site: Any
    steps: int
    dead_after: int

    def is_trained(self, params: PyTree) -> PyTree:
        return params.trainable()

    def slope(self, params: PyTree, fixed: PyTree, batch: PyTree, now: Now) -> Slope:
        x, y = batch[self.site]
        dead = now.extra.silent >= self.dead_after
        warm = fixed.kind.warm(now.step.astype(jnp.float32), self.steps)
        gradient, aux = gradient_of(params, fixed, x, y, Progress(now.step, warm, dead))
        return Slope(gradient, (*aux, dead))

    def after(self, params: PyTree, extra: Any, aux: Any, now: Now) -> tuple[PyTree, Counts, dict[str, Any]]:
        return counted(params, extra, *aux)

    def placed(self, tree: PyTree) -> PyTree:
        return constrained(tree)


def begin(sae: Any, optimizer: OptimizerLike, x: ArrayLike, y: ArrayLike, averaged: bool) -> State:
    """The state before the first step; of the batch `x`, `y` only the shapes are read."""
    progress = Progress(0, 1.0, jnp.zeros((), bool))
    features = jax.eval_shape(lambda s, a, b: s.loss(a, b, progress).features, sae, x, y)
    counts = Counts(jnp.zeros(features.shape[1:], jnp.int32))
    return initial_state(sae, optimizer, sae.trainable(), extra=counts, averaged=averaged)


def gradient_of(
    params: PyTree,
    fixed: PyTree,
    x: Array,
    y: Array,
    progress: Progress,
    live: Bool[Array, " feature"] | None = None,
) -> tuple[PyTree, tuple[dict[str, Array], Array, dict[str, Array]]]:
    """The gradient of one batch; its numbers, the features that fired, and new values of fixed leaves.

    Features that are not `live` are not there: they never fire and get no gradient.
    """

    def objective(params: PyTree) -> Any:
        sae = eqx.combine(params, fixed)
        if live is not None:
            bias = sae.encoder_bias
            sae = sae.replace(encoder_bias=jnp.where(align(live, bias), bias, -1e30))
        found = sae.loss(x, y, progress)
        fired, l0 = found.active or firing(found.features)
        numbers = {"loss": found.total, **found.terms, "l0": l0}
        return found.total, (numbers, fired, found.updates or {})

    return eqx.filter_grad(objective, has_aux=True)(params)


def counted(
    sae: Any,
    counts: Counts,
    numbers: dict[str, Array],
    fired: Array,
    updates: dict[str, Array],
    dead: Array,
    live: Array | None = None,
) -> tuple[Any, Counts, dict[str, Array]]:
    """The dictionary with new values of fixed leaves, the counts and the numbers; also of a stack."""
    if updates:
        sae = sae.replace(**updates)
    silent = jnp.where(fired, 0, counts.silent + 1)
    stack = numbers["loss"].ndim  # 1 for a stack, else 0
    axes = tuple(range(stack, dead.ndim))
    size = float(np.prod(dead.shape[stack:]))
    if live is not None:
        size = size / live.shape[-1] * jnp.sum(live, -1, dtype=jnp.float32)
    return sae, Counts(silent), {**numbers, "dead": jnp.sum(dead, axes, dtype=jnp.float32) / size}
