r"""Dictionaries on many devices: rows of a batch over one axis of a mesh, features over the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..sae.kinds._dictionary import wide
from ._automatic import automatic

# Which axis of a leaf counts features, by its name; all others are whole on every device.
LAST = ("encoder", "encoder_bias", "log_threshold", "gain", "magnitude_bias", "silent")
DECODER = {2: 0, 3: 0, 4: 2}  # by the number of axes: (features, ...), (layer, layer, features, d)


def shard(tree: Any, mesh: Any) -> Any:
    r"""The same dictionary (or state of a training) with its features spread over a mesh.

    **Arguments:** `tree`; `mesh` with the axes `"data"` and `"feature"`: encoder columns, decoder rows,
    biases, thresholds and the optimiser's moments of a feature lie on the devices of its part of
    `"feature"`, once for each part of `"data"`; everything else is whole everywhere.

    **Raises:** ValueError for other axes, and where the features cannot be divided.

    ```python
    mesh = jax.make_mesh((1, jax.device_count()), ("data", "feature"))
    sae = ji.sae.shard(ji.sae.TopK(d=32, features=64, k=4, key=jax.random.key(0)), mesh)
    sae.encode(jnp.ones((8, 32))).sharding
    ```

    Law: the same numbers, and the same functions of them to rounding.
    """
    mesh = checked(mesh)

    def place(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # of several processes, and placed before
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


def checked(mesh: Any) -> Mesh:
    """A mesh of the two axes, whose shardings the compiler completes."""
    if not isinstance(mesh, Mesh) or set(mesh.axis_names) != {"data", "feature"}:
        given = mesh.axis_names if isinstance(mesh, Mesh) else type(mesh).__name__
        raise ValueError(
            "A dictionary is spread over a mesh with the axes 'data' and 'feature', either of which may "
            f"be 1: jax.make_mesh((2, 4), ('data', 'feature')); got {given}."
        )
    return automatic(mesh)


def placed(x: Any, mesh: Mesh, spec: Any) -> Any:
    """An array that every process has, laid on a mesh; each device gets its part alone."""
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, NamedSharding(mesh, spec), lambda part: x[part])


def rows_on(mesh: Mesh, xs: list[Any]) -> Any:
    """Batches `(step, batch, ...)`, their rows over `"data"`."""
    x = np.stack([np.asarray(x) for x in xs])
    if x.shape[1] % mesh.shape["data"]:
        raise ValueError(
            f"A batch of {x.shape[1]} rows cannot be divided among {mesh.shape['data']} devices along "
            "'data': give a batch= that can."
        )
    return placed(x, mesh, P(None, "data"))


def _spec(path: Any, leaf: Any) -> Any:
    names = [key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)]
    name, ndim = (names or [""])[-1], np.ndim(leaf)
    if name == "decoder":
        return P(*(None,) * DECODER[ndim], "feature")
    return P(*(None,) * (ndim - 1), "feature") if name in LAST and ndim else P()


def held(tree: Any) -> Any:
    """Inside a compiled step: the leaves stay where `shard` put them, if a mesh is set."""
    if axes() is None:
        return tree
    stay = lambda path, leaf: jax.lax.with_sharding_constraint(leaf, _spec(path, leaf))
    return jax.tree_util.tree_map_with_path(stay, tree)


def axes() -> Any:
    """The mesh that is set and has the axes "data" and "feature", or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or set(mesh.axis_names) != {"data", "feature"} else mesh


def divided(pre: Any) -> bool:
    """Whether a mesh is set, and rows and features `(batch, features)` can be divided on it."""
    mesh = axes()
    if mesh is None or pre.ndim != 2:
        return False
    return not (pre.shape[0] % mesh.shape["data"] or pre.shape[1] % mesh.shape["feature"])


def largest(pre: Any, k: int, limit: Any = None) -> Any:
    r"""Which entries `(batch, features)` are among the k largest of their row, over all devices, exactly.

    Each device finds the k largest of its own features; these candidates are gathered, k times the
    devices of them per row, and cut once more. Ties go to the first, as without a mesh: candidates
    lie in the order of the features.
    """
    parts = axes().shape["feature"]
    few = min(k, pre.shape[-1] // parts)

    def local(pre: Any) -> Any:
        values, where = jax.lax.top_k(pre, few)
        every = jax.lax.all_gather(values, "feature", axis=1, tiled=True)
        found, at = jax.lax.top_k(every, k)
        good = jnp.isfinite(found)
        if limit is not None:
            good &= wide(jnp.arange(k, dtype=jnp.int32), found) < limit
        put = jax.vmap(lambda row, at, value: row.at[at].set(value, unique_indices=True))
        chosen = put(jnp.zeros(every.shape, bool), at, good)
        start = jax.lax.axis_index("feature") * few
        mine = jax.lax.dynamic_slice_in_dim(chosen, start, few, 1)
        return put(jnp.zeros(pre.shape, bool), where, mine)

    spec = P("data", "feature")
    return jax.shard_map(local, in_specs=spec, out_specs=spec)(jax.lax.stop_gradient(pre))
