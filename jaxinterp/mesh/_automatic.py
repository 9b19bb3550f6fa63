"""Meshes as `jax.make_mesh` makes them, and the arrays on them.

An axis of a mesh is Auto, where the compiler completes shardings, or Explicit, where the sharding is
part of an array's type and every operation must say the sharding of its result. `jax.make_mesh`
makes Explicit axes. The code of a model says nothing about devices, so that the same code runs on
any number of them: what this library lays on a mesh lies on Auto axes.
"""

from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, Sharding

from ..typing import AnyMesh, MeshLike


def automatic(mesh: MeshLike) -> Mesh:
    """The mesh with the same devices and names, whose axes are all of JAX's type Auto.

    **Raises:** ValueError where `mesh` is not a mesh.

    ```python
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    ji.mesh.automatic(mesh).axis_types
    ```
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"A mesh is of jax.make_mesh((2, 4), ('data', 'model')); got a {type(mesh).__name__}."
        )
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def automatic_mesh(mesh: AnyMesh) -> Mesh | AbstractMesh:
    """As `automatic`; a mesh without devices stays one, for plans and for programs that are only compiled."""
    if not isinstance(mesh, AbstractMesh):
        return automatic(mesh)
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return AbstractMesh(tuple(mesh.axis_sizes), tuple(mesh.axis_names), axis_types=kinds)


def automatic_sharding(where: Sharding) -> Sharding:
    """The same sharding on the mesh of `automatic`: Auto axes in place of Explicit ones.

    ```python
    where = jnp.zeros(3).sharding
    ji.mesh.automatic_sharding(where)
    ```
    """
    mesh = where.mesh if isinstance(where, NamedSharding) else None
    if not isinstance(where, NamedSharding) or not isinstance(mesh, Mesh) or not _explicit(mesh):
        return where
    return NamedSharding(automatic(mesh), where.spec, memory_kind=where.memory_kind)


def on_auto_axes(x: jax.Array) -> jax.Array:
    """The same array; one on Explicit axes lies on Auto ones, and nothing is copied."""
    if isinstance(x, Tracer) or not _explicit(getattr(x.sharding, "mesh", None)):
        return x
    parts = [shard.data for shard in x.addressable_shards]
    return jax.make_array_from_single_device_arrays(
        x.shape, automatic_sharding(x.sharding), parts, dtype=x.dtype
    )


def check_around() -> None:
    """Raises where a mesh with Explicit axes is set around a call."""
    around = jax.sharding.get_abstract_mesh()
    if _explicit(around):
        names = tuple(around.axis_names)
        raise ValueError(
            f"A mesh with Explicit axes {names} is set around this call, and the code of a model says no "
            "shardings. Leave jax.set_mesh out: ji.load(..., mesh=mesh), or the mesh= of a training, suffices. Or make its "
            f"axes Auto: jax.make_mesh({tuple(around.axis_sizes)}, {names}, axis_types="
            f"(jax.sharding.AxisType.Auto,) * {len(names)})."
        )


def check_automatic(model: Any) -> None:
    """Raises where a model was laid on Explicit axes by hand, or a mesh with such axes is set around."""
    check_around()
    for leaf in jax.tree.leaves(model):
        if isinstance(leaf, jax.Array) and _explicit(jax.typeof(leaf).sharding.mesh):
            mesh = jax.typeof(leaf).sharding.mesh
            shape, names = tuple(mesh.axis_sizes), tuple(mesh.axis_names)
            raise ValueError(
                "A model lies on Auto axes of a mesh, where the compiler completes shardings; this "
                "one's are Explicit, as jax.make_mesh makes them. ji.load(..., mesh=mesh) takes any "
                f"mesh. By hand: jax.make_mesh({shape}, {names}, axis_types="
                f"(jax.sharding.AxisType.Auto,) * {len(names)})."
            )


def _explicit(mesh: Any) -> bool:
    return AxisType.Explicit in getattr(mesh, "axis_types", ())
