r"""The cut of a batch: the value above which a given number of entries lie, without a sort."""

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import current_mesh
from ...typing import JaxArray
from ._sparse import has_two_stages, largest_of_rows

ADDED = 16  # rows added to one another before all are counted
WIDER = 4  # candidates of a row for the cut of a batch, in multiples of k


def largest_above(f: JaxArray, count: JaxArray | int, k: int | None = None) -> JaxArray:
    r"""The largest value that leaves at most `count` entries of `f >= 0` above it, exactly.

    On a CPU with many features and the average `k` of a row, the search is first among the 4 k largest of
    each row. That is enough where no row has more above the cut (its least candidate is not above it).
    Otherwise it is among all entries.
    """
    f = jax.lax.stop_gradient(f).astype(jnp.float32)
    few = WIDER * (k or f.shape[-1])
    if current_mesh() is not None or not has_two_stages(f.shape[-1], few):
        return bisect(f, count)
    candidates, _ = largest_of_rows(f, few)
    cut = bisect(candidates, count)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where nobody needs it.
    sure = jnp.all(candidates[..., -1] <= cut)
    turn = lambda state: (bisect(f, count), jnp.bool_(True))
    return jax.lax.while_loop(lambda state: ~state[1], turn, (cut, sure))[0]


def bisect(f: JaxArray, count: JaxArray | int) -> JaxArray:
    """The same by bisection over the bits: floats of one sign are ordered as the integers of their bits.

    It takes 32 counts, each a sum over all devices where f is sharded.
    """
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(f).astype(jnp.float32), jnp.int32)

    def narrow(_: JaxArray, ends: tuple[JaxArray, JaxArray]) -> tuple[JaxArray, JaxArray]:
        low, high = ends  # more than `count` lie above low - 1; at most `count` above high
        middle = low + (high - low) // 2
        few_enough = _count_above(bits, middle) <= count
        return jnp.where(few_enough, low, middle + 1), jnp.where(few_enough, middle, high)

    # The least threshold at which no more than `count` are above.
    _, high = jax.lax.fori_loop(0, 32, narrow, (jnp.int32(0), jnp.int32(0x7F7FFFFF)))
    return jax.lax.bitcast_convert_type(high, jnp.float32).astype(f.dtype)


def _count_above(bits: JaxArray, middle: JaxArray) -> JaxArray:
    """How many are above. A CPU adds rows to rows 3.4 times as fast as all to one number."""
    if jax.default_backend() != "cpu" or current_mesh() is not None or bits.ndim != 2 or len(bits) % ADDED:
        return jnp.sum((bits > middle).astype(jnp.int32))
    parts = bits.reshape(-1, ADDED, bits.shape[1])
    return jnp.sum(sum((parts[:, i] > middle).astype(jnp.int32) for i in range(ADDED)))
