"""What a training carries from step to step, and what a loss may know besides its batch."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..typing import OptimizerLike, PyTree
from ._checks import check_optimizer


class Now(NamedTuple):
    """The third argument of a loss, `loss(params, batch, now)`: the step, its key and other arrays.

    - `step`: `()` int32, how many steps were done before this one; 0 in the first step.
    - `extra`: the arrays that the training carries besides the parameters, or None.
    - `key`: a key for this step alone, folded from the key of the training; None without one.
    - `member`: in a sweep, the numbers of this member, or None.

    ```python
    def noisy_loss(w, batch, now):
        inputs, targets = batch
        inputs = inputs + 0.1 * jax.random.normal(now.key, inputs.shape)
        return ((inputs @ w - targets) ** 2).mean(), {}

    ji.fit.train(jnp.zeros(3), batches, noisy_loss, optax.adam(0.1), steps=100, key=key)
    ```
    """

    step: Int[Array, ""]
    extra: PyTree = None
    key: PRNGKeyArray | None = None
    member: PyTree = None


class State(eqx.Module):
    """The complete state of a training, with which it can continue: a tree of arrays.

    - `params`: the parameters, trained or not.
    - `optimizer_state`: the state of the optimizer.
    - `step`: `()` int32, how many steps are done.
    - `extra`: other arrays that the training carries, such as counts, or None.
    - `average`: a moving average of the trained parameters, or None.

    ```python
    state, numbers = ji.fit.descend(jnp.zeros(3), (xs[None], ys[None]), loss, optax.adam(0.1))
    state.params, int(state.step)
    ```
    """

    params: PyTree
    optimizer_state: PyTree
    step: Int[Array, ""]
    extra: PyTree = None
    average: PyTree = None


def initial_state(
    params: PyTree,
    optimizer: OptimizerLike,
    is_trained: PyTree,
    *,
    extra: PyTree = None,
    averaged: bool = False,
) -> State:
    """The state before the first step. Its buffers are new, since the first step overwrites them.

    - `params`: a tree of arrays.
    - `is_trained`: a tree of bools, or of functions of a leaf to a bool, as `equinox.partition` takes.
    - `extra`: a tree of arrays, or None.
    - `averaged`: whether a moving average of the trained parameters is kept.
    """
    check_optimizer(optimizer)
    params, extra = jax.tree.map(jnp.copy, (params, extra))
    trained = eqx.filter(params, is_trained)
    average = jax.tree.map(jnp.copy, trained) if averaged else None
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        optimizer_state = optimizer.init(trained)
    # An optimizer may remember the very arrays that it was given.
    optimizer_state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), optimizer_state)
    return State(params, optimizer_state, jnp.zeros((), jnp.int32), extra, average)


def moved_average(average: PyTree, params: PyTree, step: Int[Array, ""], decay: Float[Array, ""]) -> PyTree:
    r"""$\bar\theta \leftarrow w\,\bar\theta + (1 - w)\,\theta$, with $w = \min(d, (t + 1)/(t + 10))$.

    The weight grows from 0.1, so that the first parameters do not stay in the average for long.
    """
    done = step.astype(jnp.float32)
    weight = jnp.minimum(decay, (done + 1) / (done + 10))
    mean = lambda a, p: weight.astype(a.dtype) * a + (1 - weight).astype(a.dtype) * p
    return jax.tree.map(mean, average, params)


def as_number(value: Any) -> Array:
    """A number of the history, in float32."""
    return jnp.asarray(value).astype(jnp.float32)
