"""Rows of arrays that lie over a mesh, taken by their numbers: none of them leaves the devices."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


@functools.partial(jax.jit, static_argnames=("mesh", "stacked"))
def joined(parts: Sequence[jax.Array], *, mesh: Mesh, stacked: bool) -> jax.Array:
    """Arrays of several passes `(context, pos, ...)` as one `(pass, context, pos, ...)`, contexts over "data".

    - `stacked`: they are `(layer, context, pos, ...)`; the axis of layers goes behind that of positions.
    """
    whole = jnp.stack(list(parts))
    whole = jnp.moveaxis(whole, 1, 3) if stacked else whole
    return jax.lax.with_sharding_constraint(whole, NamedSharding(mesh, P(None, "data")))


def places(mesh: Mesh, shape: Sequence[int], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """On which part of "data" rows of a `joined` array lie, and their numbers there.

    - `shape`: (pass, context, pos) of the array, and `rows` the numbers of rows over all three.
    """
    _, contexts, width = shape
    own = contexts // mesh.shape["data"]
    turn, context, pos = np.unravel_index(rows, (shape[0], contexts, width))
    part, within = np.divmod(context, own)
    return part.astype(np.int32), ((turn * own + within) * width + pos).astype(np.int32)


@functools.partial(jax.jit, static_argnames="mesh")
def taken(x: jax.Array, part: jax.Array, place: jax.Array, *, mesh: Mesh) -> jax.Array:
    """Rows `(row, ...)` of a `joined` array over "data": row i is that of `places`, `part[i]` and `place[i]`.

    Each device gives the rows that it has, and they are summed where they belong: one other number, and zeros.
    """

    def local(x: jax.Array, part: jax.Array, place: jax.Array) -> jax.Array:
        flat = x.reshape(-1, *x.shape[3:])
        here = part == jax.lax.axis_index("data")
        found = flat[jnp.where(here, place, 0)]
        found = jnp.where(here.reshape(-1, *(1,) * (found.ndim - 1)), found, 0)
        return jax.lax.psum_scatter(found, "data", scatter_dimension=0, tiled=True)

    specs = P(None, "data"), P(), P()
    inside = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False)
    return inside(x, part, place)


@jax.jit
def all_finite(x: jax.Array) -> jax.Array:
    """Whether every number is finite, `()`."""
    return jnp.isfinite(x).all()


def whole_on_host(x: jax.Array | np.ndarray) -> np.ndarray:
    """An array on the host, also one whose parts lie with several processes, all of which must ask."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable and isinstance(x.sharding, NamedSharding):
        everywhere = NamedSharding(x.sharding.mesh, P())
        return np.asarray(jax.jit(lambda x: x, out_shardings=everywhere)(x).addressable_data(0))
    return np.asarray(x)
