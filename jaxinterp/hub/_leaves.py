"""Leaves of a model by their dotted paths, and the model without values."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np


def skeleton(model_class: type, config: Any, dtype: Any) -> Any:
    """The model with shapes for arrays: nothing is allocated."""
    dtype = np.dtype(dtype)
    return eqx.filter_eval_shape(
        lambda key: model_class.init(config, key=key, dtype=dtype), jax.random.key(0)
    )


def get_leaf(model: Any, path: str) -> Any:
    """The leaf at a dotted path; None where it or a part on the way is None."""
    for part in path.split("."):
        if isinstance(model, list | tuple):
            model = model[int(part)]
        elif isinstance(model, dict):
            model = model[part]
        elif model is not None:
            model = getattr(model, part)
    return model


def leaf_paths(model: Any) -> dict[str, Any]:
    """Every array (or shape) leaf of a model by its dotted path."""
    leaves = jax.tree_util.tree_leaves_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def set_leaves(model: Any, leaves: Mapping[str, Any]) -> Any:
    """`model` with other values at dotted paths."""
    paths = list(leaves)
    return eqx.tree_at(
        lambda m: [get_leaf(m, path) for path in paths], model, [leaves[path] for path in paths],
        is_leaf=lambda x: x is None,
    )  # fmt: skip
