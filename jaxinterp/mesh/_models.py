"""Where each leaf of a loaded model lives: on one device, or spread over a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, Sharding

from .._deprecations import respelled
from ..typing import AnyMesh, M, MeshLike, PlanLike, PyTree
from ._automatic import automatic_mesh, automatic_sharding
from ._leaves import leaf_paths
from ._plans import check_plan, check_spec, planned_spec

Rule = Callable[[str, Any], Sharding | None]
"""Leaf path and leaf (anything with a shape) to its sharding; None is the default device."""


@respelled(sharding="plan=")
def shard_model(model: M, mesh: MeshLike | None = None, *, plan: PlanLike | None = None) -> M:
    """The same model with its leaves placed on a mesh, as `ji.load(..., mesh=mesh, plan=plan)` places them.

    **Arguments:**

    - `model`: a model whose leaves are arrays.
    - `mesh`: a mesh of `jax.make_mesh`.
    - `plan`: "data", "fsdp", "tensor" or "fsdp+tensor"; None, the default, is "tensor": heads, neurons
      and vocabulary over the axis "model", or the last one. Also a function `(path, leaf) -> Sharding |
      PartitionSpec | None`, or a tree of these like the model; see `sharding_rule`.

    **Returns:** a model of the same class. A leaf that cannot be divided as planned is whole on every
    device; `ji.mesh.plan` says which.

    **Raises:** ValueError for an unknown plan, and for a mesh without the axes that it needs.

    ```python
    mesh = jax.make_mesh((1, jax.device_count()), ("data", "model"))
    model = ji.mesh.shard_model(ji.load("tiny")[0], mesh, plan="fsdp+tensor")
    ```

    Law: the same numbers, and the same logits to rounding.
    """
    check_devices(mesh)
    rule = sharding_rule(mesh, plan)

    def place(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        where = rule(jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        return leaf if where is None else jax.device_put(leaf, where)

    return jax.tree_util.tree_map_with_path(place, model)


def check_devices(mesh: AnyMesh | None) -> None:
    """Raises for a mesh on paper, where a model is to lie on devices."""
    if isinstance(mesh, AbstractMesh):
        raise ValueError(
            "A model lies on devices, and this mesh has none. ji.mesh.plan(config, mesh) plans for it; "
            "jax.make_mesh((2, 4), ('data', 'model')) has devices."
        )


def sharding_rule(mesh: AnyMesh | None, plan: PlanLike | None = None) -> Rule:
    """The function `(path, leaf) -> Sharding | None` that `load(mesh=..., plan=...)` follows.

    **Arguments:**

    - `mesh`: a mesh, or None where the plan itself says devices.
    - `plan`: a name ("data", "fsdp", "tensor", "fsdp+tensor"), None for "tensor", a function
      `(path, leaf) -> Sharding | PartitionSpec | None`, or a tree like the model whose leaves are
      shardings or None. None is whole: on every device of the mesh, and without a mesh on the first
      device.

    **Returns:** a function of the dotted path of a leaf and the leaf, or anything with its `.shape`.
    Whatever the axes of the mesh are, leaves lie on Auto ones, where the compiler completes shardings.

    **Raises:** ValueError for an unknown plan, a plan by name without a mesh, and a mesh without the axes
    that the plan needs.

    ```python
    mesh = jax.make_mesh((1, jax.device_count()), ("data", "model"))
    rule = ji.mesh.sharding_rule(mesh, "fsdp")
    rule("blocks.mlp.w_in", jax.ShapeDtypeStruct((2, 8, 32), jnp.float32))
    ```
    """
    if mesh is not None:
        mesh = automatic_mesh(mesh)
        if not mesh.axis_names:
            raise ValueError(
                "A mesh has named axes: jax.make_mesh((2, 4), ('data', 'model')); this one has none."
            )
    if isinstance(plan, bool | int | float) or any(isinstance(one, str) for one in _members(plan)):
        raise ValueError(
            "plan is 'data', 'fsdp', 'tensor' or 'fsdp+tensor', a function (path, leaf) -> PartitionSpec, or a "
            f"tree of shardings; got {plan!r}."
        )
    if plan is None and mesh is not None:
        plan = "tensor"
    if plan is None:
        return lambda path, leaf: None
    if isinstance(plan, str):
        if mesh is None:
            raise ValueError(
                f"The plan {plan!r} is laid on a mesh: mesh=jax.make_mesh((2, 4), ('data', 'model')), "
                f"plan={plan!r}."
            )
        check_plan(plan, mesh)
        return lambda path, leaf: NamedSharding(mesh, planned_spec(plan, mesh, path, leaf))
    if callable(plan):
        return lambda path, leaf: _named(mesh, path, leaf, plan(path, leaf))
    tree = leaf_paths(plan, none=True)

    def from_tree(path: str, leaf: Any) -> Sharding | None:
        if path not in tree:
            raise ValueError(
                f"The tree of shardings must have the model's leaves; it lacks {path!r}. Make one "
                "with jax.tree.map over a model, or pass a function (path, leaf) -> Sharding."
            )
        return _named(mesh, path, leaf, tree[path])

    return from_tree


def tensor_parallel(mesh: AnyMesh, path: str, leaf: PyTree) -> PartitionSpec:
    """How the plan "tensor" divides one leaf: heads, neurons or vocabulary over the axis "model".

    **Arguments:**

    - `mesh`: a mesh; without an axis "model" its last axis is used.
    - `path`: the dotted path of the leaf, `"blocks.attn.w_q"`.
    - `leaf`: the leaf, or anything with its `.shape`.

    **Returns:** a `PartitionSpec` with one entry per axis. An axis that cannot be divided stays whole.

    ```python
    mesh = jax.sharding.AbstractMesh((2,), ("model",))
    ji.mesh.tensor_parallel(mesh, "blocks.mlp.w_in", jax.ShapeDtypeStruct((2, 8, 32), jnp.float32))
    ```
    """
    return planned_spec("tensor", mesh, path, leaf)


def _members(plan: Any) -> Any:
    return plan if isinstance(plan, list | tuple | set | frozenset) else ()


def _named(mesh: Any, path: str, leaf: Any, where: Any) -> Sharding | None:
    if where is None:
        return None if mesh is None else NamedSharding(mesh, PartitionSpec())
    if isinstance(where, Sharding):
        where = automatic_sharding(where)
        if isinstance(where, NamedSharding):
            check_spec(where.spec, where.mesh, leaf.shape, f"The plan for {path!r}")
        return where
    if isinstance(where, PartitionSpec) and mesh is not None:
        check_spec(where, mesh, leaf.shape, f"The plan for {path!r}")
        return NamedSharding(mesh, where)
    raise ValueError(
        f"The sharding of {path!r} must be a jax.sharding.Sharding (or a PartitionSpec together "
        f"with mesh=...); got {where!r}."
    )
