"""Leaves of a model by their dotted paths, and the model without values."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..mesh._leaves import leaf_paths
from ._errors import listed, near


def skeleton(model_class: type, config: Any, dtype: Any) -> Any:
    """The model with shapes for arrays: nothing is allocated."""
    dtype = np.dtype(dtype)
    return eqx.filter_eval_shape(
        lambda key: model_class.init(config, key=key, dtype=dtype), jax.random.key(0)
    )


def get_leaf(model: Any, path: str) -> Any:
    """The leaf at a dotted path; None where it or a part on the way is None."""
    node = model
    for part in path.split("."):
        try:
            if isinstance(node, list | tuple):
                node = node[int(part)]
            elif isinstance(node, dict):
                node = node[part]
            elif node is not None:
                node = getattr(node, part)
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            leaves = leaf_paths(model)
            raise ValueError(
                f"A {type(model).__name__} has no leaf {path!r}{near(path, leaves)}; its leaves are "
                f"{listed(leaves, 30)}."
            ) from error
    return node


def set_leaves(model: Any, leaves: Mapping[str, Any]) -> Any:
    """`model` with other values at dotted paths."""
    paths = list(leaves)
    return eqx.tree_at(
        lambda m: [get_leaf(m, path) for path in paths],
        model,
        [leaves[path] for path in paths],
        is_leaf=lambda x: x is None,
    )
