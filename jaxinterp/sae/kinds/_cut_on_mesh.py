r"""The largest entries of rows that lie on many devices: counts are summed, and no entry moves."""

import functools

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import by_device
from ...typing import JaxArray
from ._cut import cuts_of_rows, is_among, ordered

BITS = 2  # found in one pass: a pass reads the keys once, and counts for 3 guesses


def largest_entries(pre: JaxArray, k: JaxArray | int, among: JaxArray | None = None) -> JaxArray:
    """Which entries of rows `(batch, feature)` are among the k largest of their row, over all devices, exactly.

    Each device counts its own entries above a guess, and the counts, one for each row and guess, are summed
    over "feature". Ties go to the first feature, as without a mesh. What is not finite is not among them.

    - `k ()`: may be traced.
    - `among (feature,)`: the features that count, by default all.
    """
    total = functools.partial(jax.lax.psum, axis_name="feature")

    def local(pre: JaxArray, among: JaxArray | None, k: JaxArray, first: JaxArray) -> JaxArray:
        if among is not None:
            pre = jnp.where(among[None], pre, -jnp.inf)
        columns = first + jnp.arange(pre.shape[-1], dtype=jnp.int32)[None]
        keys = ordered(pre)
        cut, last = cuts_of_rows(keys, k, columns, total, BITS)
        return is_among(keys, cut, last, columns) & jnp.isfinite(pre)

    return by_device(local, jax.lax.stop_gradient(pre), among, jnp.asarray(k, jnp.int32))
