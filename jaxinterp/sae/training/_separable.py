"""Whether an optimizer treats each feature by itself, as steps block of features by block need it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...fit._step import apply_optimizer
from ...mesh._dictionaries import feature_axis
from ...typing import ArrayLike, OptimizerLike, PyTree
from ._slices import block_at, split

UPDATES = 128  # by which an optimizer is judged: many, where it adds gradients up before it moves


def check_separable(optimizer: OptimizerLike, sae: Any) -> None:
    """An optimizer that treats each feature by itself, seen by its updates of four features. Raises ValueError."""
    trained = eqx.filter(sae, sae.trainable())
    rule = (
        "max_bytes= needs an optimizer that treats each feature by itself, as ji.sae.adam(1e-4, steps) does. "
    )
    other = " Give another, or leave max_bytes= out."
    try:
        is_separable = _remembers_leaves(optimizer, trained) and _moves_alone(optimizer, trained)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{rule}This one fails where it is given a few features: {error}{other}") from error
    if not is_separable:
        raise ValueError(
            f"{rule}This one does not: it clips by the norm of all gradients (of ji.sae.adam, clip_norm= serves "
            "kinds whose decoder rows keep no norm, such as Standard), skips updates that are not finite, draws "
            f"noise, or sums over features.{other}"
        )


def _remembers_leaves(optimizer: OptimizerLike, trained: PyTree) -> bool:
    """Whether its state has numbers, and arrays with the names and shapes of trained leaves, and nothing else."""
    named = lambda tree: [
        (_name(path), np.shape(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    own = dict(named(trained))
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(optimizer.init, trained)
    whole = jax.tree.map(lambda leaf: np.broadcast_to(np.int8(0), leaf.shape), state)
    return all(not shape or own.get(name) == shape for name, shape in named(whole))


def _moves_alone(optimizer: OptimizerLike, trained: PyTree) -> bool:
    """Whether updates of four features, and what is remembered of these, are those of two and two of them.

    Gradients grow from update to update, so that every norm at which an optimizer clips is passed. One of the last is NaN.
    """
    draw, sizes = np.random.default_rng(0), np.logspace(-3, 6, UPDATES)

    def drawn(path: Any, leaf: Any) -> tuple[np.ndarray, np.ndarray]:
        at = feature_axis(path, leaf)
        shape = tuple(4 if i == at else min(3, side) for i, side in enumerate(np.shape(leaf)))
        param, gradients = draw.normal(size=shape), draw.normal(size=(UPDATES, *shape))
        gradients *= sizes.reshape(-1, *(1 for _ in shape))
        if at is not None:
            np.moveaxis(gradients, at + 1, 0)[0, -1] = np.nan
        return param.astype(np.float32), gradients.astype(np.float32)

    pairs = jax.tree_util.tree_map_with_path(drawn, trained)
    params, gradients = jax.tree.transpose(jax.tree.structure(trained), None, pairs)

    @jax.jit
    def run(params: PyTree, state: PyTree, gradients: PyTree) -> Any:
        def one(state: PyTree, gradient: PyTree) -> Any:
            updates, state = apply_optimizer(optimizer, gradient, state, params)
            return state, (updates, split(state)[0])

        return jax.lax.scan(one, state, gradients)[1]

    def two_from(first: int) -> Callable[[PyTree], PyTree]:
        return lambda tree: eqx.combine(block_at(split(tree)[0], first, 2), split(tree)[1])

    with jax.numpy_dtype_promotion("standard"), jax.debug_nans(False):
        state = jax.tree.map(jnp.asarray, optimizer.init(params))
        whole = run(params, state, gradients)
        return all(
            _is_close(one, other)
            for take in (two_from(0), two_from(2))
            for one, other in zip(
                jax.tree.leaves(jax.vmap(take)(whole)),
                jax.tree.leaves(run(take(params), take(state), jax.vmap(take)(gradients))),
                strict=True,
            )
        )


def _is_close(one: ArrayLike, other: ArrayLike) -> bool:
    """Whether arrays `(update, ...)` are equal to 0.1% of the largest entry of each update; a rate may be tiny."""
    a, b = (np.asarray(leaf, np.float64).reshape(UPDATES, -1) for leaf in (one, other))
    largest = np.max(np.abs(a), 1, keepdims=True, where=np.isfinite(a), initial=0)
    unlike = ~np.isclose(a, b, rtol=0, atol=1e-3 * largest, equal_nan=True)
    return not unlike.any()


def _name(path: Any) -> str:
    return path[-1].name if path and isinstance(path[-1], jax.tree_util.GetAttrKey) else ""
