"""Some of the features of a dictionary, of its gradient and of what an optimizer remembers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from ...mesh._dictionaries import feature_axis
from ...typing import PyTree


def split(tree: PyTree) -> tuple[PyTree, PyTree]:
    """The leaves with an axis of features, and the others."""
    flags = jax.tree_util.tree_map_with_path(lambda path, leaf: feature_axis(path, leaf) is not None, tree)
    return eqx.partition(tree, flags)


def block_at(tree: PyTree, first: Any, size: int) -> PyTree:
    """Features from `first` on, of leaves that have an axis of features."""

    def cut(path: Any, leaf: Any) -> Any:
        axis = feature_axis(path, leaf)
        return jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), first, size, axis or 0)

    return jax.tree_util.tree_map_with_path(cut, tree)


def written(tree: PyTree, block: PyTree, first: Any) -> PyTree:
    """The leaves with those of a block in their place."""

    def write(path: Any, leaf: Any, own: Any) -> Any:
        if own.ndim > 1:
            # Else a TPU may turn the rows of whole arrays round, which needs a second copy of them.
            own = with_layout_constraint(own, Layout(tuple(range(own.ndim))))
        return jax.lax.dynamic_update_slice_in_dim(leaf, own, first, feature_axis(path, leaf) or 0)

    return jax.tree_util.tree_map_with_path(write, tree, block)
