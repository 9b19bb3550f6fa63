"""Dictionaries on many devices: rows of a batch over one axis of a mesh, features over the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from ..typing import MeshLike, PyTree
from ._automatic import automatic
from ._rows import placed

# Which axis of a leaf counts features, by its name. All other axes are whole on every device.
LAST = ("encoder", "encoder_bias", "log_threshold", "gain", "magnitude_bias", "silent")
DECODER = {2: 0, 3: 0, 4: 2}  # by the number of axes: (features, ...), (layer, layer, features, d)


def shard(tree: PyTree, mesh: MeshLike) -> PyTree:
    """The same dictionary, or state of a training, with its features spread over a mesh.

    Encoder columns, decoder rows, biases, thresholds and the optimizer's moments of a feature lie on
    the devices of its part of the axis "feature", once for each part of the axis "data". Every other
    array is whole on every device.

    **Arguments:**

    - `tree`: a dictionary of `ji.sae`, or any tree with such dictionaries in it.
    - `mesh`: a mesh with the axes `"data"` and `"feature"`, either of which may be 1.

    **Returns:** a tree of the same structure.

    **Raises:** ValueError for other axes, and where the features cannot be divided.

    ```python
    mesh = jax.make_mesh((1, jax.device_count()), ("data", "feature"))
    sae = ji.sae.shard(ji.sae.TopK(d=32, features=64, k=4).init(jax.random.key(0)), mesh)
    sae.encode(jnp.ones((8, 32))).sharding
    ```

    Law: the same numbers, and the same functions of them to rounding.
    """
    mesh = dictionary_mesh(mesh)

    def place(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # it spans several processes, and was placed before
        spec = _spec(path, leaf)
        for axis, name in enumerate(spec):
            if name and leaf.shape[axis] % mesh.shape[name]:
                raise ValueError(
                    f"{leaf.shape[axis]} features cannot be divided among {mesh.shape[name]} devices: "
                    f"give features={-(-leaf.shape[axis] // mesh.shape[name]) * mesh.shape[name]}, or "
                    "a mesh with fewer along 'feature'."
                )
        return placed(leaf, mesh, spec)

    return jax.tree_util.tree_map_with_path(place, tree)


def dictionary_mesh(mesh: MeshLike) -> Mesh:
    """The same mesh with Auto axes, checked: it has the two axes "data" and "feature".

    Raises ValueError for other axes.
    """
    if not isinstance(mesh, Mesh) or set(mesh.axis_names) != {"data", "feature"}:
        got = mesh.axis_names if isinstance(mesh, Mesh) else type(mesh).__name__
        raise ValueError(
            "A dictionary is spread over a mesh with the axes 'data' and 'feature', either of which may "
            f"be 1: jax.make_mesh((2, 4), ('data', 'feature')); got {got}."
        )
    return automatic(mesh)


def _spec(path: Any, leaf: Any) -> P:
    names = [key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)]
    name, ndim = (names or [""])[-1], np.ndim(leaf)
    if name == "decoder":
        return P(*(None,) * DECODER[ndim], "feature")
    return P(*(None,) * (ndim - 1), "feature") if name in LAST and ndim else P()


def constrained(tree: PyTree) -> PyTree:
    """Inside a compiled step: every leaf stays where `shard` put it, if a mesh is set."""
    if current_mesh() is None:
        return tree
    stay = lambda path, leaf: jax.lax.with_sharding_constraint(leaf, _spec(path, leaf))
    return jax.tree_util.tree_map_with_path(stay, tree)


def current_mesh() -> AbstractMesh | None:
    """The mesh that is set and has the axes "data" and "feature", or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or set(mesh.axis_names) != {"data", "feature"} else mesh


def is_divisible(pre: Float[Array, "*batch feature"]) -> bool:
    """Whether a mesh is set, and rows and features `(batch, feature)` can be divided on it."""
    mesh = current_mesh()
    if mesh is None or pre.ndim != 2:
        return False
    return not (pre.shape[0] % mesh.shape["data"] or pre.shape[1] % mesh.shape["feature"])


def largest_entries(
    pre: Float[Array, "batch feature"], k: int, limit: Any = None
) -> Bool[Array, "batch feature"]:
    """Which entries are among the k largest of their row, over all devices, exactly.

    Each device finds the k largest of its own features. These candidates are gathered, k times the
    devices of them per row, and cut once more. Ties go to the first, as without a mesh: candidates
    lie in the order of the features. `limit ()` is a smaller k, which may be traced.
    """
    mesh = current_mesh()
    assert mesh is not None  # `is_divisible` was asked first
    few = min(k, pre.shape[-1] // mesh.shape["feature"])

    def local(pre: Array) -> Array:
        values, where = jax.lax.top_k(pre, few)
        gathered = jax.lax.all_gather(values, "feature", axis=1, tiled=True)
        best, at = jax.lax.top_k(gathered, k)
        good = jnp.isfinite(best)
        if limit is not None:
            good &= jnp.arange(k, dtype=jnp.int32)[None] < limit
        put = jax.vmap(lambda row, at, value: row.at[at].set(value, unique_indices=True))
        chosen = put(jnp.zeros(gathered.shape, bool), at, good)
        start = jax.lax.axis_index("feature") * few
        mine = jax.lax.dynamic_slice_in_dim(chosen, start, few, 1)
        return put(jnp.zeros(pre.shape, bool), where, mine)

    spec = P("data", "feature")
    return jax.shard_map(local, in_specs=spec, out_specs=spec)(jax.lax.stop_gradient(pre))
