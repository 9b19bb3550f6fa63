"""What a training that goes on must share with the one before: its data and its optimizer."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..typing import OptimizerLike, PyTree
from ._step import apply_optimizer

SIDE = 3  # entries along each axis of the weights that an optimizer is tried on
NEAR = 1e-5  # the relative difference that two machines may have
GRADIENTS = (0.0, 1e-8, 1.0, 1e-3)  # sizes of gradients of the first steps
PARTS = (0.25, 0.5, 0.75, 1.0)  # of the steps, where a schedule is tried
BEGINNING = len(GRADIENTS)  # pairs of numbers of the first steps, before those of `PARTS`
RESUMES = ("same", "longer", "force")


def optimizer_print(optimizer: OptimizerLike, params: PyTree, steps: int) -> list[float]:
    """What an optimizer of optax does to fixed gradients, as numbers: equal numbers mean equal optimizers.

    Gradients of 0 show a decay of the weights, tiny ones an epsilon, large ones a clip, those in a row
    betas, and counts set to later steps a schedule. It is tried on weights of the same names, three
    entries to an axis; where it is made for the true shapes, on those.
    """
    small = jax.tree.map(lambda leaf: tuple(min(n, SIDE) for n in leaf.shape), params)
    try:
        return _tried(optimizer, params, small, steps)
    except Exception:  # an optimizer that holds arrays of the true shapes may raise anything
        return _tried(optimizer, params, jax.tree.map(lambda leaf: leaf.shape, params), steps)


def _tried(optimizer: OptimizerLike, params: PyTree, shapes: PyTree, steps: int) -> list[float]:
    rng = np.random.default_rng(0)
    draw = lambda leaf, shape: jnp.asarray(rng.normal(size=shape), leaf.dtype)
    weights, gradient = (jax.tree.map(draw, params, shapes) for _ in range(2))

    def times(tree: PyTree, size: float) -> PyTree:
        return jax.tree.map(lambda leaf: leaf * jnp.asarray(size, leaf.dtype), tree)

    def sizes(weights: PyTree, gradient: PyTree) -> jax.Array:
        value, value_of = jnp.float32(0), lambda _: jnp.float32(0)  # for a line search
        state, found = optimizer.init(weights), []
        for size in GRADIENTS:
            updates, state = apply_optimizer(
                optimizer, times(gradient, size), state, weights, value, value_of
            )
            found.append(_sizes(updates))
        for part in PARTS:
            later = _counted(state, int(part * (steps - 1)))
            updates, _ = apply_optimizer(optimizer, gradient, later, weights, value, value_of)
            found.append(_sizes(updates))
        return jnp.stack(found)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return np.asarray(jax.jit(sizes)(weights, gradient), np.float64).ravel().tolist()


def _counted(state: PyTree, step: int) -> PyTree:
    """The state as of another step: its counts of steps are set."""
    count = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.integer) and not jnp.ndim(leaf)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, step) if count(leaf) else leaf, state)


def _sizes(updates: PyTree) -> jax.Array:
    """The sums of positive and of negative entries, weighted by their places so that nothing cancels."""
    flat = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(updates)])
    weight = 1 + jnp.arange(flat.size, dtype=jnp.float32) / flat.size
    return jnp.stack([jnp.sum(weight * jnp.maximum(side, 0)) for side in (flat, -flat)])


def difference(found: Any, mine: Any, name: str = "", near: float = 0.0) -> tuple[str, Any, Any] | None:
    """The name and both values of the first entry in which two records of JSON differ, or None.

    Floats differ where their relative difference is above `near`.
    """
    if type(found) is type(mine) is dict:
        pairs = [(k, found.get(k), mine.get(k)) for k in {**mine, **found}]
    elif type(found) is type(mine) is list and len(found) == len(mine):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(found, mine, strict=True))]
    elif isinstance(found, float) and isinstance(mine, float):
        return None if np.isclose(found, mine, near, 0, equal_nan=True) else (name, found, mine)
    else:
        return None if found == mine else (name, found, mine)
    each = (difference(a, b, f"{name}.{k}".strip("."), near) for k, a, b in pairs)
    return next((one for one in each if one is not None), None)


def check_identity(
    where: Any, found: dict[str, Any], mine: dict[str, Any], names: Sequence[str], resume: str
) -> None:
    """Refuses to go on with other data or another optimizer, unless `resume` is "force".

    "longer" is as "same" here: it is about the number of steps.

    Identities that `found` does not record, and those that are None in `mine`, are not compared.
    """
    check_resume(resume)
    for name in names if resume != "force" else ():
        known = name in found and mine[name] is not None
        if known and (one := difference(found[name], mine[name], name, NEAR)) is not None:
            what, was, now = one
            raise ValueError(
                f"{where} is the checkpoint of a run with another {name}: {what} was {_short(was)}, and "
                f"here it is {_short(now)}. Give the {name} it was begun with, or another checkpoint=. "
                'To go on from it all the same: ji.fit.Settings(resume="force").'
            )


def check_resume(resume: Any) -> None:
    """Raises ValueError for what is no way to go on."""
    if not isinstance(resume, str) or resume not in RESUMES:
        raise ValueError(f"resume is 'same', 'longer' or 'force'; got {resume!r}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:30]}..."
