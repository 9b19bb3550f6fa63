"""The largest logits of rows whose vocabulary, or whose batch, lies over the devices of a mesh.

A compiler that is left alone gathers what `lax.top_k` reads: all rows and the whole vocabulary, on every device.
Here each device takes the largest of its own part, and only these candidates are exchanged.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from ._plans import model_axis


def top_over_mesh(
    x: Float[Array, "batch *rows n"], k: int
) -> tuple[Float[Array, "batch *rows k"], Int[Array, "batch *rows k"]] | None:
    """The k largest along the last axis and where they stand, by the parts of the mesh that is set.

    None where no mesh is set, or neither the first axis nor the last one can be divided on it.

    Law: the values and places of `lax.top_k`; of equal ones the first.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or set(mesh.axis_types) != {AxisType.Auto} or x.ndim < 2:
        return None
    *lead, n = x.shape
    name = model_axis(mesh)
    parts = 1 if name == "data" else mesh.shape[name]
    vocab = name if parts > 1 and not n % parts and n // parts >= k else None
    rows = "data" if mesh.shape.get("data", 1) > 1 and not lead[0] % mesh.shape["data"] else None
    if vocab is None and rows is None:
        return None

    def local(x: Array) -> tuple[Array, Array]:
        values, at = lax.top_k(x, k)
        if vocab is None:
            return values, at
        at = at + lax.axis_index(vocab).astype(at.dtype) * x.shape[-1]
        # Parts stand in order, so that of equal values the first stays the first.
        values, at = (lax.all_gather(each, vocab, axis=1, tiled=True) for each in (values, at))
        best, which = lax.top_k(values, k)
        return best, jnp.take_along_axis(at, which, 1)

    out = P(rows, None)
    inside = jax.shard_map(local, in_specs=(P(rows, vocab),), out_specs=(out, out), check_vma=False)
    values, at = inside(x.reshape(-1, n))
    return values.reshape(*lead, k), at.reshape(*lead, k)
