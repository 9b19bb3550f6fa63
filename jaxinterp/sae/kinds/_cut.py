r"""The cut of rows, and of a whole batch: the k-th largest entry, found by counting and without a sort.

Floats are ordered as integers of their bits (`ordered`), so that the k-th largest number is found bit by
bit: 32 counts of how many lie at or above a guess, or 8 passes that count for 15 guesses each. A row's cut
and the count are exact. On several devices the counts are summed, and no entry moves.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ...mesh._dictionaries import current_mesh
from ...typing import JaxArray
from ._sparse import has_two_stages, largest_of_rows

ADDED = 16  # rows added to one another before all are counted
WIDER = 4  # candidates of a row for the cut of a batch, in multiples of k
BITS = 4  # found in one pass over an array that does not fit into a cache: 15 guesses

Count: TypeAlias = Callable[[Sequence[JaxArray]], Sequence[JaxArray]]
"Of guesses `(..., 1)` the numbers `(..., 1)` of keys of each row that are at least the guess."
Total: TypeAlias = Callable[[Sequence[JaxArray]], Sequence[JaxArray]]
"Sums numbers over the devices that share a row, as `functools.partial(jax.lax.psum, axis_name='feature')`."


def ordered(x: JaxArray) -> JaxArray:
    r"""Integers in the order of the floats x: $-\infty < -1 < -0 < 0 < 1 < \infty < \mathrm{NaN}$, as `jax.lax.top_k` has it.

    They have 32 bits, of float64 64. `unordered` goes back.
    """
    if x.dtype != jnp.float64:
        x = x.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(x, jnp.int64 if x.dtype == jnp.float64 else jnp.int32)
    return _turned(bits)


def unordered(keys: JaxArray) -> JaxArray:
    """The floats of `ordered` keys."""
    return jax.lax.bitcast_convert_type(
        _turned(keys), jnp.float64 if keys.dtype == jnp.int64 else jnp.float32
    )


def _turned(bits: JaxArray) -> JaxArray:
    """The bits of a negative number but for its sign turned round: the larger it is, the smaller the integer."""
    low = jnp.iinfo(bits.dtype)
    return bits ^ (jax.lax.shift_right_arithmetic(bits, jnp.full_like(bits, low.bits - 1)) & low.max)


def kth_largest(
    count: Count, k: JaxArray | int, like: JaxArray, bits: int = 1, size: int | None = None
) -> JaxArray:
    """The k-th largest key of each row, exactly: the largest key that k keys of the row are not below.

    **Arguments:**

    - `count`: of each of several guesses, how many keys of each row are at least the guess.
    - `k`: a number, or one for each row `(..., 1)`; it may be traced. Of fewer than k keys the cut is the
      least integer.
    - `like (..., 1)`: an array of integers with the shape of the cuts.
    - `bits`: found by one call of `count`, with 2^bits - 1 guesses. It divides 32.
    - `size`: all keys are at least 0 and below it; by default they are any integers. Fewer calls find them.

    Law: `unordered(kth_largest(...))` is the last value of `jax.lax.top_k(x, k)`.
    """
    kind = jnp.iinfo(like.dtype)

    def narrow(turn: JaxArray, low: JaxArray) -> JaxArray:
        one = jnp.asarray(1, like.dtype)
        step = jax.lax.shift_left(one, (kind.bits - bits * (turn + 1)).astype(like.dtype))
        guesses = [low + step * jnp.asarray(i, like.dtype) for i in range(1, 2**bits)]
        for number in count(guesses):
            low = low + jnp.where(number >= k, step, jnp.zeros_like(step))
        return low

    low = jnp.full_like(like, kind.min if size is None else 0)
    known = 0 if size is None else (kind.bits - (size - 1).bit_length()) // bits
    return jax.lax.fori_loop(jnp.int32(known), jnp.int32(kind.bits // bits), narrow, low)


def cuts_of_rows(
    keys: JaxArray,
    k: JaxArray | int,
    columns: JaxArray,
    total: Total = lambda numbers: numbers,
    bits: int = BITS,
) -> tuple[JaxArray, JaxArray]:
    """Of each row of keys `(..., m)` the cut, and the last column that still goes in at the cut.

    - `k`: as in `kth_largest`.
    - `columns (m,)`: the numbers of the columns in the whole row, int32.
    - `total`: sums counts over the devices that share a row; by default a row is whole.

    Returns two arrays `(..., 1)`. An entry is among the k largest where its key is above the cut, or is
    the cut and its column is not after the last one: `is_among`.
    """

    def counting(entries: JaxArray, among: JaxArray | None = None) -> Count:
        def count(guesses: Sequence[JaxArray]) -> Sequence[JaxArray]:
            found = [entries >= guess for guess in guesses]
            found = found if among is None else [one & among for one in found]
            return total([jnp.sum(one, -1, keepdims=True, dtype=jnp.int32) for one in found])

        return count

    k = k if isinstance(k, int) else k.astype(jnp.int32)  # as counts are, with 64-bit numbers on too
    cut = kth_largest(counting(keys), k, keys[..., :1], bits)
    at = keys == cut
    above, level = total([jnp.sum(one, -1, keepdims=True, dtype=jnp.int32) for one in (keys > cut, at)])
    back = jnp.broadcast_to(-columns, keys.shape)
    last = jnp.full_like(above, np.iinfo(np.int32).max)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where no row has ties to cut.
    turn = lambda state: (-kth_largest(counting(back, at), k - above, above, bits), jnp.bool_(True))
    return cut, jax.lax.while_loop(lambda state: ~state[1], turn, (last, jnp.all(level <= k - above)))[0]


def is_among(keys: JaxArray, cut: JaxArray, last: JaxArray, columns: JaxArray) -> JaxArray:
    """Which entries `cuts_of_rows` lets in."""
    return (keys > cut) | ((keys == cut) & (jnp.broadcast_to(columns, keys.shape) <= last))


def largest_above(f: JaxArray, count: JaxArray | int, k: int | None = None) -> JaxArray:
    r"""The largest value that leaves at most `count` entries of `f >= 0` above it, exactly.

    On a CPU with many features and the average `k` of a row, the search is first among the 4 k largest of
    each row. That is enough where no row has more above the cut (its least candidate is not above it).
    Otherwise it is among all entries.
    """
    f = jax.lax.stop_gradient(f)
    few = WIDER * (k or f.shape[-1])
    if current_mesh() is not None or not has_two_stages(f.shape[-1], few):
        return bisect(f, count)
    search = lambda f, count: _cut_by_candidates(f, count, few)
    return jax.lax.platform_dependent(f, jnp.asarray(count, jnp.int32), cpu=search, default=bisect)


def _cut_by_candidates(f: JaxArray, count: JaxArray, few: int) -> JaxArray:
    candidates, _ = largest_of_rows(f, few)
    cut = bisect(candidates, count)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where nobody needs it.
    sure = jnp.all(candidates[..., -1] <= cut)
    turn = lambda state: (bisect(f, count), jnp.bool_(True))
    return jax.lax.while_loop(lambda state: ~state[1], turn, (cut, sure))[0]


def bisect(f: JaxArray, count: JaxArray | int) -> JaxArray:
    """The same by counts alone, each a sum over all devices where f is sharded."""
    wide = f.dtype == jnp.float64
    floats, whole = (jnp.float64, jnp.int64) if wide else (jnp.float32, jnp.int32)
    # Floats of one sign are in the order of their bits.
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(f).astype(floats), whole)
    most = jnp.asarray(count, jnp.int32) + 1

    def find(bits: JaxArray, most: JaxArray, each: int, size: Callable[[JaxArray], JaxArray]) -> JaxArray:
        counting = lambda guesses: [size(bits >= guess) for guess in guesses]
        return kth_largest(counting, most, bits[(0,) * bits.ndim], each)

    cut = jax.lax.platform_dependent(
        bits,
        most,
        cpu=lambda bits, most: find(bits, most, 1, _size_by_rows),
        default=lambda bits, most: find(bits, most, BITS, lambda one: jnp.sum(one, dtype=jnp.int32)),
    )
    greatest = jax.lax.bitcast_convert_type(jnp.asarray(jnp.finfo(floats).max, floats), whole)
    cut = jnp.clip(cut, jnp.zeros_like(cut), greatest)
    return jax.lax.bitcast_convert_type(cut, floats).astype(f.dtype)


def _size_by_rows(found: JaxArray) -> JaxArray:
    """How many are True. A CPU adds rows to rows 3.4 times as fast as all to one number."""
    if current_mesh() is not None or found.ndim != 2 or len(found) % ADDED:
        return jnp.sum(found, dtype=jnp.int32)
    parts = found.reshape(-1, ADDED, found.shape[1])
    return jnp.sum(sum(parts[:, i].astype(jnp.int32) for i in range(ADDED)))
