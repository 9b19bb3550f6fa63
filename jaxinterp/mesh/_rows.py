"""Rows of a batch over a mesh of devices, and everything else whole on each device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ._automatic import automatic

DATA = "data"


class RowSharding:
    """Rows over the axis "data" of a mesh, or over its first axis."""

    def __init__(self, mesh: Any) -> None:
        if not isinstance(mesh, Mesh):
            raise ValueError(
                "mesh= is of jax.make_mesh, and rows lie over its axis 'data': "
                f"jax.make_mesh((8,), ('data',)); got a {type(mesh).__name__}."
            )
        self.mesh = automatic(mesh)
        self.axis = DATA if DATA in mesh.axis_names else mesh.axis_names[0]

    @property
    def shard_count(self) -> int:
        """How many parts rows are divided into: a batch is a multiple of it."""
        return int(self.mesh.shape[self.axis])

    def put(self, rows: Any) -> Any:
        """An array `(row, ...)` with its rows over the devices."""
        return jax.device_put(rows, NamedSharding(self.mesh, P(self.axis)))

    def replicated(self, tree: Any) -> Any:
        """The same tree: an array that does not lie on these devices is copied to each of them."""
        whole = NamedSharding(self.mesh, P())
        devices = frozenset(self.mesh.devices.flat)

        def place(leaf: Any) -> Any:
            if isinstance(leaf, jax.Array | np.ndarray):
                there = isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices
                return leaf if there else jax.device_put(leaf, whole)
            return leaf

        return jax.tree.map(place, tree)


def rows_over(mesh: Any) -> RowSharding:
    """How rows lie on a mesh."""
    return RowSharding(mesh)


def copied(tree: Any) -> Any:
    """The same tree with arrays of its own: numbers and NumPy arrays become arrays of JAX."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)
