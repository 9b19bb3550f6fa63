"""Where each leaf of a loaded model lives: on one device, or spread over a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from ..typing import M, MeshLike, PyTree, ShardingLike
from ._automatic import automatic, automatic_sharding
from ._leaves import leaf_paths
from ._rows import on_sharding

Rule = Callable[[str, Any], Sharding | None]
"""Leaf path and leaf (anything with a shape) to its sharding; None is the default device."""
Place = Callable[[str, np.ndarray], jax.Array]
"""Hands a finished host array of a leaf to JAX: where it lives and how it is sharded."""

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


def shard_model(model: M, mesh: MeshLike | None = None, *, sharding: ShardingLike | None = None) -> M:
    """The same model with its leaves on a mesh, as `ji.load(..., mesh=mesh)` lays them.

    **Arguments:**

    - `model`: a model whose leaves are arrays.
    - `mesh`: a mesh of `jax.make_mesh`. Alone, it splits heads, neurons and vocabulary over its axis
      "model", or its last one, where they divide, and copies every other leaf to every device.
    - `sharding`: a function `(path, leaf) -> Sharding | PartitionSpec | None`, or a tree of these like
      the model; see `sharding_rule`.

    **Returns:** a model of the same class.

    ```python
    mesh = jax.make_mesh((1, jax.device_count()), ("data", "model"))
    model = ji.mesh.shard_model(ji.load("tiny")[0], mesh)
    ```

    Law: the same numbers, and the same logits to rounding.
    """
    rule = sharding_rule(mesh, sharding)

    def place(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        where = rule(jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        return leaf if where is None else jax.device_put(leaf, where)

    return jax.tree_util.tree_map_with_path(place, model)


def sharding_rule(mesh: MeshLike | None, sharding: ShardingLike | None = None) -> Rule:
    """The function `(path, leaf) -> Sharding | None` that `load(mesh=..., sharding=...)` follows.

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


def tensor_parallel(mesh: MeshLike, path: str, leaf: PyTree) -> PartitionSpec:
    """How a mesh alone lays one leaf: the axis of heads, neurons or vocabulary over the axis "model".

    **Arguments:**

    - `mesh`: a mesh; without an axis "model" its last axis is used.
    - `path`: the dotted path of the leaf, `"blocks.attn.w_q"`.
    - `leaf`: the leaf, or anything with its `.shape`.

    **Returns:** a `PartitionSpec` with one entry per axis. An axis that cannot be divided stays whole.
    """
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
        return on_sharding(host, where)

    return place
