r"""Dictionaries on many devices: rows of a batch over one axis of a mesh, features over the other."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ._dictionary import wide


def axes() -> Any:
    """The mesh that is set and has the axes "data" and "feature", or None."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or set(mesh.axis_names) != {"data", "feature"} else mesh


def largest(pre: Any, k: int, limit: Any = None) -> Any:
    r"""Which entries `(batch, features)` are among the k largest of their row, over all devices, exactly.

    Each device finds the k largest of its own features; these candidates are gathered, k times the
    devices of them per row, and cut once more. Ties go to the first, as without a mesh: candidates
    lie in the order of the features.
    """
    mesh = axes()
    parts = mesh.shape["feature"]
    few = min(k, pre.shape[-1] // parts)

    def local(pre: Any) -> Any:
        values, where = jax.lax.top_k(pre, few)
        every = jax.lax.all_gather(values, "feature", axis=1, tiled=True)
        found, at = jax.lax.top_k(every, k)
        good = jnp.isfinite(found)
        if limit is not None:
            good &= wide(jnp.arange(k), found) < limit
        put = jax.vmap(lambda row, at, value: row.at[at].set(value, unique_indices=True))
        chosen = put(jnp.zeros(every.shape, bool), at, good)
        start = jax.lax.axis_index("feature") * few
        mine = jax.lax.dynamic_slice_in_dim(chosen, start, few, 1)
        return put(jnp.zeros(pre.shape, bool), where, mine)

    spec = P("data", "feature")
    return jax.shard_map(local, mesh=mesh, in_specs=spec, out_specs=spec)(
        jax.lax.stop_gradient(pre)
    )
