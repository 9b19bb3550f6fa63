"""Leaves that a model has only if its checkpoint does: biases and gains, by `optional` of a table."""

import re
import typing
from fnmatch import fnmatchcase
from typing import Any

import einops
import jax
import numpy as np

from ..core._check import logit_count
from ._errors import BadCheckpoint
from ._leaves import get_leaf, set_leaves
from ._port import Port
from ._port_row import Row
from ._tensors import Tensors


def is_optional(port: Port, row: Row) -> bool:
    """Whether the model has the leaves of a row only if the checkpoint does (`names.optional`)."""
    patterns = port.names.get("optional", [])
    return any(fnmatchcase(leaf, pattern) for leaf in (row.leaf, *row.leaves) for pattern in patterns)


def with_optional(port: Port, model: Any, tensors: Tensors, rows: tuple[Row, ...]) -> Any:
    """The skeleton with those optional leaves that this checkpoint has, and no others."""
    dtype = jax.tree.leaves(model)[0].dtype
    found: dict[str, Any] = {}
    for row in rows:
        if not is_optional(port, row) or not all(_may_be_none(model, leaf) for leaf in row.leaves):
            continue
        names = every_name(row, model)
        if not any(name in tensors for name in names):
            found |= dict.fromkeys(row.leaves)
        elif names[0] in tensors and get_leaf(model, row.leaves[0]) is None:
            shape = _absent_shape(row, model.config, names[0], tensors[names[0]].shape)
            shape = (len(names), *shape) if row.stacked else shape
            found |= dict.fromkeys(row.leaves, jax.ShapeDtypeStruct(shape, dtype))
    return set_leaves(model, found) if found else model


def every_name(row: Row, model: Any) -> list[str]:
    """Their names for a row, whether the model has its leaf or not."""
    return [row.name_of(layer) for layer in range(model.config.layers if row.stacked else 1)]


def _absent_shape(row: Row, config: Any, name: str, theirs: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a leaf that the skeleton lacks, of one layer, from that of the tensor."""
    vocab = logit_count(config) if row.leaf.endswith("_unembed") else config.vocab
    glossary = {"head": "heads", "kv_head": "kv_heads", "layer": "layers"}
    sizes = {"vocab": vocab, **row.sizes}
    for axis in map(str, re.findall(r"\w+", row.pattern)):
        size = getattr(config, glossary.get(axis, axis), None)
        if isinstance(size, int):
            sizes.setdefault(axis, size)
    sizes = {axis: size for axis, size in sizes.items() if re.search(rf"\b{axis}\b", row.pattern)}
    try:
        ours = einops.rearrange(np.broadcast_to(0.0, theirs), row.pattern, **sizes).shape
    except einops.EinopsError as error:
        known = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise BadCheckpoint(
            f"The optional leaf {row.leaf} is made from {name!r} of shape {theirs} by "
            f"{row.pattern!r}{f' with {known}' if known else ''}, which does not fit: see the "
            "config, or give sizes of other axes in the row's third entry."
        ) from error
    return ours[1:] if len(row.leaves) > 1 else ours


def _may_be_none(model: Any, leaf: str) -> bool:
    """Whether the module that holds a leaf is there, and can be without the leaf."""
    part, _, name = leaf.rpartition(".")
    value = get_leaf(model, part) if part else model
    if value is None:
        return False
    return type(None) in typing.get_args(typing.get_type_hints(type(value)).get(name))
