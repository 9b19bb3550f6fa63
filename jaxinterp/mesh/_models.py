"""Where each leaf of a loaded model lives: on one device, or spread over a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from ..hub._rows import Place, leaf_paths
from ._automatic import automatic, automatic_sharding

Rule = Callable[[str, Any], Sharding | None]
"""Leaf path and leaf (anything with a shape) to its sharding; None is the default device."""

# The axis of each leaf that tensor parallelism splits, counted from the end: heads, neurons and
# vocabulary, so that a block needs one reduction after attention and one after the MLP.
_SPLIT = {
    "w_q": 3,
    "w_k": 3,
    "w_v": 3,
    "b_q": 2,
    "b_k": 2,
    "b_v": 2,
    "w_o": 3,
    "w_in": 1,
    "w_gate": 1,
    "b_in": 1,
    "b_gate": 1,
    "w_out": 2,
    "w_embed": 2,
    "w_unembed": 1,
    "b_unembed": 1,
}


def sharding_rule(mesh: Any, sharding: Any) -> Rule:
    """The rule that `load(mesh=..., sharding=...)` asks for.

    `sharding` is a function `(path, leaf) -> Sharding | PartitionSpec | None`, or a tree like the
    model whose leaves are shardings. A mesh alone splits heads, neurons and vocabulary over its
    axis "model" (or its last one) where they divide, and copies the rest to every device. Whatever
    the axes of the mesh are, leaves lie on Auto ones, where the compiler completes shardings.
    """
    if mesh is not None:
        if not isinstance(mesh, Mesh):
            raise ValueError(
                f"A mesh is of jax.make_mesh((2, 4), ('data', 'model')); got a {type(mesh).__name__}."
            )
        mesh = automatic(mesh)
    if sharding is None:
        if mesh is None:
            return lambda path, leaf: None
        return lambda path, leaf: NamedSharding(mesh, tensor_parallel(mesh, path, leaf))
    if callable(sharding):
        return lambda path, leaf: _named(mesh, path, sharding(path, leaf))
    tree = leaf_paths(sharding)

    def from_tree(path: str, leaf: Any) -> Sharding | None:
        if path not in tree:
            raise ValueError(
                f"The tree of shardings must have the model's leaves; it lacks {path!r}. Make one "
                "with jax.tree.map over a model, or pass a function (path, leaf) -> Sharding."
            )
        return _named(mesh, path, tree[path])

    return from_tree


def tensor_parallel(mesh: Mesh, path: str, leaf: Any) -> PartitionSpec:
    """The default for a mesh: the split axis of this leaf over the mesh's model axis."""
    axis = "model" if "model" in mesh.axis_names else mesh.axis_names[-1]
    split = _SPLIT.get(path.rpartition(".")[2])
    spec: list[str | None] = [None] * len(leaf.shape)
    if split is not None and leaf.shape[-split] % mesh.shape[axis] == 0:
        spec[-split] = axis
    return PartitionSpec(*spec)


def _named(mesh: Mesh | None, path: str, where: Any) -> Sharding | None:
    if where is None:
        return None
    if isinstance(where, Sharding):
        return automatic_sharding(where)
    if isinstance(where, PartitionSpec) and mesh is not None:
        return NamedSharding(mesh, where)
    raise ValueError(
        f"The sharding of {path!r} must be a jax.sharding.Sharding (or a PartitionSpec together "
        f"with mesh=...); got {where!r}."
    )


def placer(rule: Rule) -> Place:
    """Hands host arrays to JAX by `rule`: each device receives its own slice only."""

    def place(path: str, host: np.ndarray) -> jax.Array:
        where = rule(path, host)
        if where is None:
            return jax.device_put(host, may_alias=True)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return place
