"""Inside a program: weights that a plan splits over "data" are gathered where they are used.

A program knows no sharding of its arguments, and a compiler that is left alone would rather gather the rows
of a batch than the weights. So the library's programs run with the model's mesh set (`on_mesh`), and say
where it is known: one block's weights are whole over "data" while the block runs, and rows lie over "data".
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from ._plans import gathered_spec, is_stacked

Args = ParamSpec("Args")
R = TypeVar("R")


def data_mesh() -> AbstractMesh | None:
    """The mesh that is set, if it spreads rows over an axis "data"; else None."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if not mesh.empty and mesh.shape.get("data", 1) > 1 else None


def gather_weights(tree: Any, prefix: str = "", *, layer: bool = False) -> Any:
    """The same weights, whole over "data" where a mesh with that axis is set; stacked blocks stay.

    `prefix` is the path of the tree in its model; `layer` says that it is one layer of the blocks.
    """
    mesh = data_mesh()
    if mesh is None:
        return tree

    def one(path: Any, leaf: Any) -> Any:
        name = f"{prefix}{jax.tree_util.keystr(path, simple=True, separator='.')}"
        if not isinstance(leaf, jax.Array) or not leaf.ndim or (is_stacked(name) and not layer):
            return leaf
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, gathered_spec(name, leaf, layer)))

    return jax.tree_util.tree_map_with_path(one, tree)


def over_data(x: jax.Array, axes: int) -> jax.Array:
    """The same batch, its rows over "data" where a mesh with that axis is set and they divide.

    `axes` is how many axes one row has: 1 of tokens, 2 of a stream. What is no batch stays.
    """
    mesh = data_mesh()
    if mesh is None or x.ndim <= axes or x.shape[0] % mesh.shape["data"]:
        return x
    free = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec("data", *free)))


def on_mesh(program: Callable[Args, R]) -> Callable[Args, R]:
    """The same compiled program, called with the mesh set on which its arguments lie.

    Nothing changes where they lie on no mesh with an axis "data", or are traced, or where a mesh is set.
    """
    return _called_on(program, lambda mesh: mesh.shape.get("data", 1) > 1)


def on_any_mesh(program: Callable[Args, R]) -> Callable[Args, R]:
    """As `on_mesh`, also for a mesh that spreads no rows: programs with `mesh._top` find the axis of the vocabulary."""
    return _called_on(program, lambda mesh: mesh.size > 1)


def _called_on(program: Callable[Args, R], suits: Callable[[Any], bool]) -> Callable[Args, R]:
    @functools.wraps(program)
    def call(*args: Args.args, **kwargs: Args.kwargs) -> R:
        mesh = None if data_mesh() else _mesh_of((args, kwargs), suits)
        try:
            with contextlib.nullcontext() if mesh is None else jax.sharding.use_abstract_mesh(mesh):
                return program(*args, **kwargs)
        except ValueError as error:
            if "incompatible devices" not in str(error):
                raise
            raise ValueError(
                "A model and what it reads lie on the same devices, and here they do not. Give arrays of NumPy, which go "
                "to the model, np.asarray(tokens); or lay rows on its mesh, ji.mesh.rows_on(mesh, tokens). JAX says: "
                f"{error}"
            ) from error

    return call


def data_size(tree: Any) -> int:
    """Into how many parts the mesh under a tree's arrays divides rows; 1 where there is none."""
    mesh = data_mesh() or _mesh_of(tree, lambda mesh: mesh.shape.get("data", 1) > 1)
    return 1 if mesh is None else mesh.shape["data"]


def _mesh_of(tree: Any, suits: Callable[[Any], bool]) -> AbstractMesh | None:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer):
            where = leaf.sharding
            if isinstance(where, NamedSharding) and suits(where.mesh):
                return where.mesh.abstract_mesh
    return None
