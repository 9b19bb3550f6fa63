r"""Steps of stacks: members under `vmap`, and stacks side by side in one program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..kinds._losses import Progress
from ._state import State, follow, slopes


def cut(tree: Any, here: Any) -> Any:
    """Some members of a stack."""
    return jax.tree.map(lambda leaf: leaf[here], tree)


@eqx.filter_jit(donate="all-except-first")
def several(fixed: tuple[Any, ...], states: list[State], data: Any) -> Any:
    """As many steps of all groups as there are batches."""
    groups, arrays, steps, decay = fixed

    def one(states: list[State], batch: Any) -> Any:
        read = {}
        for site, (x, y) in batch.items():
            held = arrays[site]
            if held is not None:
                x, y = held[0][x], held[1][x] if len(held) > 1 else None
            read[site] = x, x if y is None else y
        new, told = [], []
        for (site, *group), state in zip(groups, states, strict=True):
            x, y = read[site]
            state, numbers = _advance(group, state, x, y, steps, decay)
            new.append(state)
            told.append(numbers)
        return new, told

    return jax.lax.scan(one, states, data)


def _advance(
    group: Any, state: State, x: Any, y: Any, steps: int, decay: Any
) -> tuple[State, dict[str, Any]]:
    """One step of a stack: gradients under `vmap`, then each optimiser on its members."""
    transforms, cuts, (after, limit, live) = group
    params, fixed = eqx.partition(state.sae, state.sae.trainable())
    dead = state.silent >= after.reshape(-1, *[1] * (state.silent.ndim - 1))
    if live is not None:
        dead &= live.reshape(len(live), *[1] * (dead.ndim - 2), -1)
    warm = state.sae.warm(state.step.astype(jnp.float32), steps)
    # One flag for all: under `vmap` a condition of each member's own would compute both sides.
    some = jnp.any(dead)

    def member(params: Any, fixed: Any, dead: Any, limit: Any, live: Any) -> Any:
        return slopes(params, fixed, x, y, Progress(state.step, warm, dead, limit, some), live)

    grads, (told, fired, updates) = jax.vmap(member)(params, fixed, dead, limit, live)
    changes, moments = [], []
    for i, transform in enumerate(transforms):
        here = slice(cuts[i], cuts[i + 1])
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            made = jax.vmap(transform.update)(cut(grads, here), state.moments[i], cut(params, here))
        changes.append(made[0])
        moments.append(made[1])
    changes = jax.tree.map(lambda *parts: jnp.concatenate(parts), *changes)
    return follow(state, params, fixed, changes, tuple(moments), told, fired, updates, dead, decay, live)
