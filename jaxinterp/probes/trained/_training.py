"""Probes trained by an optimizer with early stopping: each layer and key in one program."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...fit._descend import EarlyStopped, Plateau, early_stopping
from ...fit._members import rated
from ...fit._state import Now, State, initial_state
from ...fit._step import step
from ...fit._task import loss_task
from ...typing import OptimizerLike, PyTree
from .._problem_axes import map_problems, one_hot


@functools.cache
def default_optimizer() -> Any:
    """Adam at 1e-3, one object: an optimizer made anew would be a program made anew."""
    import optax

    return optax.adam(1e-3)


def check_key(key: Any) -> None:
    """One key or several. Raises ValueError for anything else."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(
            f"Randomness comes from key=jax.random.key(0), or several: jax.random.split(key, 5); got "
            f"{type(key).__name__}."
        )


class Recipe(NamedTuple):
    """What decides the program of a training.

    - `init`: a function of a key, d and the number of outputs to parameters.
    - `forward`: a function of parameters, x `(n, d)`, a key (or None) and a dropout share to outputs.
    - `optimizer`: any of optax.
    - `classes`: how many classes; None: real targets.
    - `batch_size`, `epochs`, `patience`, `dropout`, `standardise`: see `TrainSettings`.
    - `share`: of the examples that are the dev split.
    """

    init: Callable[..., Any]
    forward: Callable[..., Any]
    optimizer: OptimizerLike
    classes: int | None
    batch_size: int
    epochs: int
    patience: int
    share: float
    dropout: float
    standardise: bool


class Standardisation(NamedTuple):
    """Means and spreads of features `(d,)`, and of targets `(t,)`."""

    middle: Float[Array, " d"]
    spread: Float[Array, " d"]
    low: Float[Array, " t"]
    wide: Float[Array, " t"]


class Trained(NamedTuple):
    """The probes of all problems: what early stopping found, and the scaling of their features."""

    found: EarlyStopped
    scaling: Standardisation


@eqx.filter_jit
def train(x: Any, y: Any, counts: Any, dev: Any, key: Any, rule: tuple[Any, Any], recipe: Recipe) -> Trained:
    """Trains a probe for the broadcast axes of x `(..., n, d)`, y, counts and key.

    With `recipe.classes` None y `(..., n, t)` are targets. `dev`: `(x, y)` of the same axes, or None:
    a share of the examples. `rule`: the least gain, and the factor of the updates on a plateau.
    """
    core = 1 if recipe.classes is not None else 2

    def one(x: Any, y: Any, counts: Any, dev_x: Any, dev_y: Any, key: Any) -> Trained:
        return _train(x, y, counts, None if dev_x is None else (dev_x, dev_y), key, rule, recipe)

    dev_x, dev_y = (None, None) if dev is None else dev
    with jax.default_matmul_precision("highest"):
        return map_problems(one, (x, y, counts, dev_x, dev_y, key), (2, core, 1, 2, core, 0))


class Split(NamedTuple):
    """The examples of the dev split with their weights, and the others.

    - `x`, `y`, `weights`: of the dev split.
    - `own`: `(n,)`, which examples are trained on; `size`, their number.
    """

    x: Array
    y: Array
    weights: Array
    own: Array
    size: Int[Array, ""]


def _train(x: Any, y: Any, counts: Any, dev: Any, key: Any, rule: tuple[Any, Any], recipe: Recipe) -> Trained:
    key_init, key_dev, key_run = jax.random.split(key, 3)
    split = _split(x, y, counts, dev, key_dev, recipe.share)
    scaling = _scaling(x, y, jnp.where(split.own, counts, 0), recipe)
    total = jnp.where(split.own, counts, 0).sum()
    batch_size = min(recipe.batch_size, len(x))

    def losses(params: PyTree, x: Array, y: Array, key: PRNGKeyArray | None) -> Array:
        rows = (x - scaling.middle[None]) / scaling.spread[None]
        out = recipe.forward(params, rows, key, recipe.dropout)
        if recipe.classes is None:
            return ((out - (y - scaling.low[None]) / scaling.wide[None]) ** 2).mean(1)
        return -(jax.nn.log_softmax(out, axis=1) * one_hot(y, recipe.classes)).sum(1)

    def loss(params: PyTree, batch: Any, now: Now) -> tuple[Array, dict[str, Array]]:
        rows, weights, key = batch
        return _mean(losses(params, x[rows], y[rows], key), weights), {}

    optimizer = rated(recipe.optimizer)
    params = recipe.init(key_init, x.shape[1], y.shape[1] if recipe.classes is None else recipe.classes)
    task, params = loss_task(params, loss, optimizer)

    def epoch(state: State, at: Array) -> tuple[State, Array]:
        key_order, key_steps = jax.random.split(jax.random.fold_in(key_run, at))
        rows = jnp.concatenate([_shuffled(key_order, split.own), jnp.zeros(batch_size, jnp.int32)])

        def one(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, total_loss = carry
            here = lax.dynamic_slice_in_dim(rows, i * batch_size, batch_size)
            real = i * batch_size + jnp.arange(batch_size, dtype=jnp.int32) < split.size
            weights = jnp.where(real, counts[here], 0)
            state, numbers = step(task, state, (here, weights, jax.random.fold_in(key_steps, i)))
            return state, total_loss + numbers["loss"] * weights.sum()

        steps = (split.size + batch_size - 1) // batch_size
        state, total_loss = lax.fori_loop(0, steps, one, (state, jnp.zeros((), x.dtype)))
        return state, total_loss / total

    def dev_loss(params: PyTree) -> Array:
        return _mean(losses(params, split.x, split.y, None), split.weights)

    plateau = Plateau(recipe.epochs, recipe.patience, *rule)
    start = initial_state(params, optimizer, task.which)
    return Trained(early_stopping(start, epoch, dev_loss, plateau), scaling)


def _split(x: Array, y: Array, counts: Array, dev: Any, key: PRNGKeyArray, share: float) -> Split:
    """The first of the examples that count, in random order, are the dev split."""
    n, real = len(x), counts > 0
    total = real.sum(dtype=jnp.int32)
    order = _shuffled(key, real)
    if dev is None:
        count = jnp.clip(jnp.round(share * total.astype(x.dtype)).astype(jnp.int32), 1, total // 2)
        most = max(1, min(n, round(share * n) + 1))
        dev_x, dev_y = x[order[:most]], y[order[:most]]
        # One example alone is trained on and watched.
        watched = jnp.arange(most, dtype=jnp.int32) < jnp.maximum(count, 1)
        weights = jnp.where(watched, counts[order[:most]], 0)
    else:
        dev_x, dev_y = dev
        count, weights = jnp.int32(0), jnp.ones(len(dev_x), x.dtype)
    rank = jnp.zeros(n, jnp.int32).at[order].set(jnp.arange(n, dtype=jnp.int32))
    own = (rank >= count) & real
    return Split(dev_x, dev_y, weights, own, own.sum(dtype=jnp.int32))


def _scaling(x: Array, y: Array, weight: Array, recipe: Recipe) -> Standardisation:
    """Means and spreads over the examples that are trained on; a constant feature is left out."""
    part = (weight / weight.sum())[:, None]
    middle, spread = jnp.zeros(x.shape[1], x.dtype), jnp.ones(x.shape[1], x.dtype)
    if recipe.standardise:
        middle = (part * x).sum(0)
        spread = jnp.sqrt((part * (x - middle[None]) ** 2).sum(0))
        spread = jnp.where(spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30), spread, jnp.inf)
    low, wide = jnp.zeros((1,), x.dtype), jnp.ones((1,), x.dtype)
    if recipe.classes is None:
        low = (part * y).sum(0)
        wide = jnp.sqrt((part * (y - low[None]) ** 2).sum(0))
        wide = jnp.where(wide > 0, wide, 1)
    return Standardisation(middle, spread, low, wide)


def _mean(each: Array, weights: Array) -> Array:
    return (each * weights).sum() / jnp.maximum(weights.sum(), 1e-30)


def _shuffled(key: PRNGKeyArray, first: Array) -> Array:
    """Indices in random order, those where `first` is True before the others."""
    ranks = jnp.where(first, 0.0, 2.0) + jax.random.uniform(key, first.shape, jnp.float32)
    return jnp.argsort(ranks).astype(jnp.int32)


def as_history(found: EarlyStopped) -> dict[str, np.ndarray]:
    """The numbers of a training that each trained probe has as fields, as arrays."""
    names = ("loss", "dev_loss", "epochs", "steps", "best_epoch", "stopped")
    return {name: np.asarray(getattr(found, name)) for name in names}
