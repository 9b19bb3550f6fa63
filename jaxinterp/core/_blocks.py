"""The blocks of a model: how many there are, the block of one layer, and what all of them share."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ._types import Context, Model, Reads


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
    """Positions of prompts of the shape `(*batch, pos)`, and which keys their queries may read.

    With padding, positions count real tokens only, and nothing attends to padding.
    """
    pos = prompts[-1]
    if real is None:
        positions = jnp.arange(pos, dtype=jnp.int32)
    else:
        positions = jnp.maximum(jnp.cumsum(real, -1, dtype=jnp.int32) - 1, 0)
    reads = Reads(pos, pos, causal=bool(model.config.causal), real=real)
    return positions, shared_context(reads, model.tables(positions))


def shared_context(reads: Reads, tables: Any) -> Context:
    """What all blocks share: computed once, and the same however each block is compiled."""
    arrays, rest = eqx.partition((reads, tables), eqx.is_array)
    return Context(*eqx.combine(jax.lax.optimization_barrier(arrays), rest))
