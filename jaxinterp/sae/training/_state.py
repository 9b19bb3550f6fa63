"""One step of training: what is carried from step to step, and the pure function between."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...mesh._dictionaries import constrained
from ..kinds._losses import Progress
from ..kinds._rows import align


class State(eqx.Module):
    """Everything a run needs to go on: `sae`, the optimiser's `moments`, `silent` steps per feature,
    `average` of the weights (or None) and the number of `step`s done."""

    sae: Any
    moments: Any
    silent: Any
    average: Any
    step: Any


def begin(sae: Any, optimizer: Any, x: Any, y: Any, averaged: bool) -> State:
    """The state before the first step; `x`, `y` of a batch, for shapes alone."""
    # Donated buffers must be nobody else's: not those of the kind that was given, nor of the average.
    sae = jax.tree.map(jnp.copy, sae)
    params, fixed = eqx.partition(sae, sae.trainable())
    one = jax.eval_shape(
        lambda s, a, b: s.loss(a, b, Progress(0, 1.0, jnp.zeros((), bool))).features, sae, x, y
    )
    average = jax.tree.map(jnp.copy, params) if averaged else None
    return State(
        eqx.combine(params, fixed),
        optimizer.init(params),
        jnp.zeros(one.shape[1:], jnp.int32),
        average,
        jnp.zeros((), jnp.int32),
    )


def firing(f: Any) -> tuple[Any, Any]:
    """Which features are not 0 in some row of `(batch, ...)`, and their mean number in a row."""
    active = f != 0
    return jnp.any(active, 0), jnp.sum(active, dtype=jnp.float32) / active.shape[0]


def slopes(
    params: Any, fixed: Any, x: Any, y: Any, now: Progress, live: Any = None
) -> tuple[Any, tuple[dict[str, Any], Any, dict[str, Any]]]:
    """Gradients of one batch, with its numbers, the features that fired and updates of fixed leaves.

    Features that are not `live (features,)` are not there: they never fire and get no gradient.
    """

    def objective(params: Any) -> Any:
        sae = eqx.combine(params, fixed)
        if live is not None:
            bias = sae.encoder_bias
            sae = sae.replace(encoder_bias=jnp.where(align(live, bias), bias, -1e30))
        found = sae.loss(x, y, now)
        fired, l0 = found.active or firing(found.features)
        told = {"loss": found.total, **found.terms, "l0": l0}
        return found.total, (told, fired, found.updates or {})

    return eqx.filter_grad(objective, has_aux=True)(params)


def follow(
    state: State,
    params: Any,
    fixed: Any,
    changes: Any,
    moments: Any,
    told: Any,
    fired: Any,
    updates: Any,
    dead: Any,
    decay: Any,
    live: Any = None,
) -> tuple[State, dict[str, Any]]:
    """The state after `changes` of the parameters, and all accounts; also of a stack of members."""
    params = eqx.apply_updates(params, changes)
    new = eqx.combine(params, fixed)
    if updates:
        new = new.replace(**updates)
    average = state.average
    if average is not None:
        # Debiased at the start: the mean of what has been, until there is enough of it.
        done = state.step.astype(jnp.float32)
        weight = jnp.minimum(decay, (done + 1) / (done + 10))
        average = jax.tree.map(lambda a, p: weight * a + (1 - weight) * p, average, params)
    silent = jnp.where(fired, 0, state.silent + 1)
    stack = told["loss"].ndim  # 1 for a stack, else 0
    axes = tuple(range(stack, dead.ndim))
    size = float(np.prod(dead.shape[stack:]))
    if live is not None:
        size = size / live.shape[-1] * jnp.sum(live, -1, dtype=jnp.float32)
    told = {**told, "dead": jnp.sum(dead, axes, dtype=jnp.float32) / size}
    told = {name: value.astype(jnp.float32) for name, value in told.items()}
    return State(new, moments, silent, average, state.step + 1), told


def advance(
    state: State, x: Any, y: Any, optimizer: Any, steps: int, dead_after: int, decay: Any
) -> tuple[State, dict[str, Any]]:
    r"""$\theta_{t+1} = \theta_t + \mathrm{opt}(\nabla L(x_t; \theta_t))$ and all the accounts of one step."""
    sae = state.sae
    params, fixed = eqx.partition(sae, sae.trainable())
    dead = state.silent >= dead_after
    now = Progress(state.step, sae.warm(state.step.astype(jnp.float32), steps), dead)
    grads, (told, fired, updates) = slopes(params, fixed, x, y, now)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        changes, moments = optimizer.update(grads, state.moments, params)  # optax counts in ints
    return follow(state, params, fixed, changes, moments, told, fired, updates, dead, decay)


@eqx.filter_jit(donate="all-except-first")
def several(fixed: tuple[Any, ...], state: State, xs: Any, ys: Any) -> tuple[State, dict[str, Any]]:
    """As many steps as there are batches: `xs (step, batch, d)`, or row numbers of resident arrays."""
    arrays, optimizer, steps, dead_after, decay = fixed

    def one(state: State, batch: Any) -> Any:
        x, y = batch
        if arrays is not None:
            rows = x
            x = arrays[0][rows]
            y = arrays[-1][rows] if len(arrays) > 1 else x
        elif y is None:
            y = x
        state, told = advance(state, x, y, optimizer, steps, dead_after, decay)
        return constrained(state), constrained(told)

    return jax.lax.scan(one, state, (xs, ys))
