r"""The cut of rows: the k-th largest entry, found by counting and without a sort.

Floats are ordered as integers of their bits (`ordered`), so that the k-th largest number is found bit by
bit: 32 counts of how many lie at or above a guess, or 8 passes that count for 15 guesses each. A row's cut
and the count are exact. On several devices the counts are summed, and no entry moves.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ...typing import JaxArray

BITS = 4  # found in one pass over an array that does not fit into a cache: 15 guesses
GPU_BITS = 2  # the same on a GPU, which counts 15 guesses in two kernels, each slower than a copy

Count: TypeAlias = Callable[[Sequence[JaxArray]], Sequence[JaxArray]]
"The numbers `(..., 1)` of keys in each row that are at least the row's guess `(..., 1)`."
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
    - `k`: a number, or one for each row `(..., 1)`; it may be traced. With fewer than k keys the cut is the
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
    """The cut of each row of keys `(..., m)`, and the last column that still goes in at the cut.

    - `k`: as in `kth_largest`.
    - `columns (m,)`: the numbers of the columns in the whole row, int32.
    - `total`: sums counts over the devices that share a row; by default a row is whole.

    Returns two arrays `(..., 1)`. An entry is among the k largest where its key is above the cut, or is
    the cut and its column is not after the last one: `is_among`. Where fewer than k are above minus
    infinity, all of these count as among them: nobody asks which, and no tie is looked for.
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
    least = ordered(jnp.asarray(-jnp.inf, jnp.float64 if keys.dtype == jnp.int64 else jnp.float32))
    found = (keys > cut, at, keys > least)
    above, level, finite = total([jnp.sum(one, -1, keepdims=True, dtype=jnp.int32) for one in found])
    level = jnp.where(finite >= k, level, 0)
    back = jnp.broadcast_to(-columns, keys.shape)
    last = jnp.full_like(above, np.iinfo(np.int32).max)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where no row has ties to cut.
    turn = lambda state: (-kth_largest(counting(back, at), k - above, above, bits), jnp.bool_(True))
    return cut, jax.lax.while_loop(lambda state: ~state[1], turn, (last, jnp.all(level <= k - above)))[0]


def is_among(keys: JaxArray, cut: JaxArray, last: JaxArray, columns: JaxArray) -> JaxArray:
    """Which entries `cuts_of_rows` lets in."""
    return (keys > cut) | ((keys == cut) & (jnp.broadcast_to(columns, keys.shape) <= last))
