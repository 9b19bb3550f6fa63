"""Arrays on a mesh: each device receives its own part only; batches spread their rows over "data"."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from ..typing import ArrayLike, MeshLike, PyTree
from ._automatic import automatic
from ._plans import check_spec


def default_sharding() -> Sharding:
    """One device: the first one."""
    return SingleDeviceSharding(jax.devices()[0])


def placed(x: ArrayLike, mesh: MeshLike, spec: PartitionSpec | Any) -> jax.Array:
    """Places an array that every process has on a mesh. Each device receives its own part only.

    **Arguments:**

    - `x`: an array on the host.
    - `mesh`: a mesh of `jax.make_mesh`.
    - `spec`: one name of an axis of the mesh, or None, for each axis of `x`.

    **Returns:** an array with the sharding `NamedSharding(mesh, spec)` on Auto axes.

    **Raises:** ValueError for what is no mesh or no spec, a spec of more axes than `x` has, an axis
    that the mesh does not have, and an axis of `x` that it does not divide.

    ```python
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    ji.mesh.placed(np.zeros((8, 3)), mesh, jax.sharding.PartitionSpec("data"))
    ```

    Law: the values are those of `x`.
    """
    x, mesh = np.asarray(x), automatic(mesh)
    if not isinstance(spec, PartitionSpec):
        raise ValueError(
            f"spec is jax.sharding.PartitionSpec({mesh.axis_names[0]!r}), with at most one entry for each of the "
            f"{x.ndim} axes of x; got {spec!r}."
        )
    check_spec(spec, mesh, x.shape, "The spec of x")
    return on_sharding(x, NamedSharding(mesh, spec))


def on_sharding(host: np.ndarray, where: Sharding) -> jax.Array:
    """A host array at a sharding; each device receives its own part only."""
    return jax.make_array_from_callback(host.shape, where, lambda part: host[part])


def rows_on(mesh: MeshLike, x: ArrayLike, *, axis: int = 0, name: str = "data") -> jax.Array:
    """Places a batch on a mesh, with its rows divided over one axis.

    **Arguments:**

    - `mesh`: a mesh of `jax.make_mesh` with an axis `name`.
    - `x`: rows `(batch, ...)`, or `(step, batch, ...)` with `axis=1`.
    - `axis`: which axis of `x` counts rows, from 0 on; 0 by default.
    - `name`: the axis of the mesh; "data" by default.

    **Raises:** ValueError for a mesh without that axis, and where the rows cannot be divided.

    ```python
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    ji.mesh.rows_on(mesh, np.zeros((8, 16), np.int32)).sharding
    ```

    Law: the values are those of `x`.
    """
    x = np.asarray(x)
    mesh = automatic(_with_axis(mesh, name))
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or axis < 0:
        raise ValueError(
            f"axis is an int counted from 0, such as axis=1 of (step, batch, ...); got {axis!r}."
        )
    if x.ndim <= axis:
        raise ValueError(f"A batch has rows on axis {axis}; got an array of the shape {x.shape}.")
    if x.shape[axis] % mesh.shape[name]:
        raise ValueError(
            f"A batch of {x.shape[axis]} rows cannot be divided among {mesh.shape[name]} devices along "
            f"{name!r}. Give a batch, or a batch_size=, that is a multiple of {mesh.shape[name]}."
        )
    return placed(x, mesh, PartitionSpec(*(None,) * axis, name))


def whole_on(mesh: MeshLike, x: ArrayLike) -> jax.Array:
    """An array that every process has, whole on every device."""
    return placed(x, mesh, PartitionSpec())


def steps_on(mesh: MeshLike, batches: Sequence[ArrayLike]) -> jax.Array:
    """Batches `(batch, ...)` of several steps as one array `(step, batch, ...)`, rows over "data".

    Batches that lie on these devices stay there.
    """
    devices = frozenset(mesh.devices.flat)
    there = [x for x in batches if isinstance(x, jax.Array) and x.sharding.device_set == devices]
    if len(there) == len(batches):
        where = NamedSharding(automatic(mesh), PartitionSpec(None, "data"))
        return _stacked_on(where)(there)
    return rows_on(mesh, np.stack([np.asarray(x) for x in batches]), axis=1)


@functools.cache
def _stacked_on(where: Sharding) -> Callable[[list[jax.Array]], jax.Array]:
    return jax.jit(jnp.stack, out_shardings=where)


def row_parts(mesh: MeshLike, name: str = "data") -> int:
    """Into how many parts one axis of a mesh divides rows: a batch is a multiple of it."""
    return int(_with_axis(mesh, name).shape[name])


def replicated(mesh: MeshLike, tree: PyTree) -> PyTree:
    """The same tree, each array whole on every device; an array that lies on these devices stays."""
    whole = NamedSharding(automatic(mesh), PartitionSpec())
    devices = frozenset(mesh.devices.flat)

    def place(leaf: PyTree) -> PyTree:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        there = isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices
        return leaf if there else jax.device_put(leaf, whole)

    return jax.tree.map(place, tree)


def _with_axis(mesh: MeshLike, name: str) -> Mesh:
    if not isinstance(mesh, Mesh) or name not in mesh.axis_names:
        got = mesh.axis_names if isinstance(mesh, Mesh) else type(mesh).__name__
        raise ValueError(
            f"Rows are spread over a mesh with the axis {name!r}: jax.make_mesh((2, 4), ({name!r}, 'model')); "
            f"got {got}."
        )
    return mesh
