"""Leaves of a tree by their dotted paths: `blocks.attn.w_q`."""

from typing import Any

import jax

from ..typing import PyTree


def leaf_paths(tree: PyTree, *, none: bool = False) -> dict[str, Any]:
    """Every array (or shape) leaf of a tree by its dotted path; with `none` every None too."""
    is_leaf = (lambda x: x is None) if none else None
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
