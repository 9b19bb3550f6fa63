"""What a training that goes on has to share with the one before: its data and its optimiser."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._files import fingerprint

SAMPLED = 256  # rows of stored tokens that are read for a fingerprint
SIDE = 3  # entries along each axis of the weights that an optimiser is tried on
NEAR = 1e-5  # what two machines may differ in


def tokens_print(tokens: Any) -> str:
    """Of ids in memory all; of stored ones their shape and rows from end to end."""
    if hasattr(tokens, "source"):
        rows = np.unique(np.linspace(0, tokens.shape[0] - 1, SAMPLED).astype(int))
        return fingerprint(list(tokens.shape), tokens[rows])
    return fingerprint(np.asarray(tokens))


def optimizer_print(transform: Any, params: Any, steps: int) -> list[float]:
    """What an optimiser of optax does to fixed gradients, as numbers: equal ones do the same.

    Gradients of 0 show a decay of weights, tiny ones an epsilon, large ones a clip, those in a row
    betas, and counts set to later steps a schedule. It is tried on weights of the same names, three
    entries to an axis; where it is made for the true shapes, on those.
    """
    small = jax.tree.map(lambda leaf: tuple(min(n, SIDE) for n in leaf.shape), params)
    try:
        return _tried(transform, params, small, steps)
    except Exception:  # whatever a transform raises that holds arrays of the true shapes
        return _tried(transform, params, jax.tree.map(lambda leaf: leaf.shape, params), steps)


def _tried(transform: Any, params: Any, shapes: Any, steps: int) -> list[float]:
    rng = np.random.default_rng(0)
    draw = lambda leaf, shape: jnp.asarray(rng.normal(size=shape), leaf.dtype)
    weights, some = (jax.tree.map(draw, params, shapes) for _ in range(2))

    def times(tree: Any, size: float) -> Any:
        return jax.tree.map(lambda leaf: leaf * jnp.asarray(size, leaf.dtype), tree)

    def updates(weights: Any, some: Any) -> Any:
        state, found = transform.init(weights), []
        for size in (0.0, 1e-8, 1.0, 1e-3):
            made, state = transform.update(times(some, size), state, weights)
            found.append(_sizes(made))
        for part in (0.25, 0.5, 0.75, 1.0):
            made, _ = transform.update(some, _counted(state, int(part * (steps - 1))), weights)
            found.append(_sizes(made))
        return jnp.stack(found)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return np.asarray(jax.jit(updates)(weights, some), np.float64).ravel().tolist()


def _counted(state: Any, step: int) -> Any:
    """The state as of another step, as far as it counts them."""
    count = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.integer) and not jnp.ndim(leaf)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, step) if count(leaf) else leaf, state)


def _sizes(updates: Any) -> Any:
    """What is added and what is taken away, entries weighed by their places: nothing cancels."""
    flat = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(updates)])
    weight = 1 + jnp.arange(flat.size, dtype=jnp.float32) / flat.size
    return jnp.stack([jnp.sum(weight * jnp.maximum(side, 0)) for side in (flat, -flat)])


def apart(found: Any, mine: Any, name: str = "", near: float = 0.0) -> tuple[str, Any, Any] | None:
    """Name and both values of the first entry in which two records of JSON differ; floats by more
    than the share `near`."""
    if type(found) is type(mine) is dict:
        pairs = [(k, found.get(k), mine.get(k)) for k in {**mine, **found}]
    elif type(found) is type(mine) is list and len(found) == len(mine):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(found, mine, strict=True))]
    elif isinstance(found, float) and isinstance(mine, float):
        return None if np.isclose(found, mine, near, 0, equal_nan=True) else (name, found, mine)
    else:
        return None if found == mine else (name, found, mine)
    each = (apart(a, b, f"{name}.{k}".strip("."), near) for k, a, b in pairs)
    return next((one for one in each if one is not None), None)


def check_identity(
    where: Any, found: dict[str, Any], mine: dict[str, Any], names: Sequence[str], resume: str
) -> None:
    """Refuses to go on with other data or another optimiser, unless `resume` is "force".

    What an older checkpoint does not record cannot be compared.
    """
    if resume not in ("same", "force"):
        raise ValueError(f"resume is 'same' or 'force'; got {resume!r}.")
    for name in names if resume == "same" else ():
        known = name in found and mine[name] is not None
        if known and (one := apart(found[name], mine[name], name, NEAR)) is not None:
            what, was, now = one
            raise ValueError(
                f"{where} is the checkpoint of a run with another {name}: {what} was {_short(was)}, and "
                f"here it is {_short(now)}. Give the {name} it was begun with, or another checkpoint=; "
                'to go on from it all the same: resume="force".'
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:30]}..."
