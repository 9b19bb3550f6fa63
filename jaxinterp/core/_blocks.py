"""The blocks of a model: how many there are, the block of one layer, and what all of them share."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ._types import Context, Model


def layer_count(model: Any) -> int:
    """How many blocks are stacked in a model."""
    leaves = jax.tree.leaves(eqx.filter(model.blocks, eqx.is_array))
    if not leaves:
        raise ValueError("The blocks of this model hold no arrays, so it has no layers to run.")
    return leaves[0].shape[0]


def at_layer(tree: Any, layer: int | Array) -> Any:
    """One layer of a tree whose arrays lead with a layer axis; `layer` may be traced."""
    if isinstance(layer, int):
        take = lambda leaf: leaf[layer]
    else:
        take = functools.partial(jax.lax.dynamic_index_in_dim, index=layer, keepdims=False)
    return jax.tree.map(lambda leaf: take(leaf) if eqx.is_array(leaf) else leaf, tree)


def context(
    model: Model, prompts: tuple[int, ...], real: Bool[Array, "*batch pos"] | None
) -> tuple[Int[Array, "*batch pos"], Context]:
    """Positions and attention mask of prompts of the shape `(*batch, pos)`.

    With padding, positions count real tokens only, and nothing attends to padding.
    """
    pos = prompts[-1]
    allowed = jnp.tril(jnp.ones((pos, pos), bool)) if model.config.causal else None
    if real is None:
        positions = jnp.arange(pos, dtype=jnp.int32)
    else:
        positions = jnp.maximum(jnp.cumsum(real, -1, dtype=jnp.int32) - 1, 0)
        keys = jnp.broadcast_to(real[..., None, :], (*real.shape[:-1], pos, pos))
        allowed = keys if allowed is None else keys & jnp.broadcast_to(allowed, keys.shape)
    return positions, shared_context(allowed, model.tables(positions))


def shared_context(allowed: Any, tables: Any) -> Context:
    """What all blocks share: computed once, and the same however each block is compiled."""
    return Context(*jax.lax.optimization_barrier((allowed, tables)))
