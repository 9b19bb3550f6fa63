"""Dictionaries on many devices: rows of a batch over one axis of a mesh, features over the other."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from ..typing import MeshLike, PyTree
from ._automatic import automatic
from ._rows import placed

# Which axis of a leaf counts features, by its name. All other axes are whole on every device.
LAST = ("encoder", "encoder_bias", "log_threshold", "gain", "magnitude_bias", "threshold", "silent")
MEMORY = "optimizer_state"
DECODER = {2: 0, 3: 0, 4: 2}  # by the number of axes: (features, ...), (layer, layer, features, d)


def shard(tree: PyTree, mesh: MeshLike) -> PyTree:
    """The same dictionary, or state of a training, with its features spread over a mesh.

    The encoder columns, decoder rows, biases, thresholds and optimizer moments of a feature lie on the devices of
    its part of the axis "feature". Each part of the axis "data" has a copy of them. Every other array is whole on
    every device.

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
        return placed(leaf, mesh, _place(mesh, path, leaf).spec)

    return jax.tree_util.tree_map_with_path(place, tree)


def made_on(mesh: Mesh, make: Callable[..., PyTree], *given: PyTree) -> PyTree:
    """`make(*given)` with every leaf made where `shard` lays it: no device holds a whole one on the way.

    - `make`: a function that can be compiled.
    """
    arrays, others = eqx.partition(given, eqx.is_array)
    shapes = eqx.filter_eval_shape(make, *given)
    like, rest = eqx.partition(shapes, _is_array)
    where = jax.tree_util.tree_map_with_path(functools.partial(_place, mesh), like)

    def made(arrays: PyTree) -> PyTree:
        return eqx.filter(make(*eqx.combine(arrays, others)), _is_array)

    with jax.set_mesh(mesh):
        return eqx.combine(jax.jit(made, out_shardings=where)(arrays), rest)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)


def _place(mesh: Mesh, path: Any, leaf: Any) -> NamedSharding:
    """Where a leaf lies. Raises ValueError where its features cannot be divided."""
    spec = leaf_spec(path, leaf, mesh.shape["data"])
    for axis, name in enumerate(spec):
        if name and leaf.shape[axis] % mesh.shape[name]:
            raise ValueError(
                f"{leaf.shape[axis]} features cannot be divided among {mesh.shape[name]} devices: "
                f"give features={-(-leaf.shape[axis] // mesh.shape[name]) * mesh.shape[name]}, or "
                "a mesh with fewer along 'feature'."
            )
    return NamedSharding(mesh, spec)


def dictionary_mesh(mesh: MeshLike) -> Mesh:
    """The mesh with Auto axes on which a dictionary is trained, after a check of its axes "data" and "feature".

    **Raises:** ValueError for other axes.

    ```python
    ji.mesh.dictionary_mesh(jax.make_mesh((1, jax.device_count()), ("data", "feature")))
    ```
    """
    if not isinstance(mesh, Mesh) or set(mesh.axis_names) != {"data", "feature"}:
        got = mesh.axis_names if isinstance(mesh, Mesh) else type(mesh).__name__
        raise ValueError(
            "A dictionary is spread over a mesh with the axes 'data' and 'feature', either of which may "
            f"be 1: jax.make_mesh((2, 4), ('data', 'feature')); got {got}."
        )
    return automatic(mesh)


def feature_axis(path: Any, leaf: Any) -> int | None:
    """The axis of a leaf that counts features, by its name; None where it has none."""
    name, axes = (_names(path) or [""])[-1], np.ndim(leaf)
    if not axes or not (name in LAST or name == "decoder"):
        return None
    return DECODER[axes] if name == "decoder" else axes - 1


def _names(path: Any) -> list[str]:
    return [key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)]


def leaf_spec(path: Any, leaf: Any, data: int) -> P:
    """Where a leaf lies: its axis of features over "feature".

    What an optimizer remembers of a matrix is divided a second time, over `data` devices along its longest
    other axis: each device updates its part of the weights, and the parts are gathered.
    """
    names, shape = _names(path), np.shape(leaf)
    at = feature_axis(path, leaf)
    if at is None:
        return P()
    spec: list[str | None] = [None] * (at + 1)
    spec[at] = "feature"
    if MEMORY in names and data > 1:
        others = [i for i, size in enumerate(shape) if i != at and size and not size % data]
        if others:
            longest = max(others, key=lambda i: shape[i])
            spec += [None] * (longest + 1 - len(spec))
            spec[longest] = "data"
    return P(*spec)


def constrained(tree: PyTree) -> PyTree:
    """Inside a compiled step: every leaf stays where `shard` put it, if a mesh is set."""
    mesh = current_mesh()
    if mesh is None:
        return tree
    data = mesh.shape["data"]
    stay = lambda path, leaf: jax.lax.with_sharding_constraint(leaf, leaf_spec(path, leaf, data))
    return jax.tree_util.tree_map_with_path(stay, tree)


def current_mesh() -> AbstractMesh | None:
    """The mesh that is set and has the axes "data" and "feature", or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or set(mesh.axis_names) != {"data", "feature"} else mesh


def is_divisible(pre: Float[jax.Array, "*batch feature"]) -> bool:
    """Whether a mesh is set, and rows and features `(batch, feature)` can be divided on it."""
    mesh = current_mesh()
    if mesh is None or pre.ndim != 2:
        return False
    return not (pre.shape[0] % mesh.shape["data"] or pre.shape[1] % mesh.shape["feature"])


def by_device(
    function: Callable[..., jax.Array],
    pre: jax.Array,
    of_features: jax.Array | None,
    of_all: jax.Array,
) -> jax.Array:
    """`function(pre, of_features, of_all, first)` of each device's own part of `pre (batch, feature)`.

    - `function`: returns an array like its `pre`; `jax.lax.psum(x, "feature")` inside sums over devices.
    - `of_features (feature,)`: cut as the features are; or None.
    - `of_all ()`: the same on every device.

    The function is also given `first ()`, the number of the first feature of its part.
    """
    own = P("data", "feature")

    def local(pre: jax.Array, of_features: jax.Array | None, of_all: jax.Array) -> jax.Array:
        return function(pre, of_features, of_all, jax.lax.axis_index("feature") * pre.shape[1])

    inside = jax.shard_map(local, in_specs=(own, P("feature"), P()), out_specs=own, check_vma=False)
    return inside(pre, of_features, of_all)
