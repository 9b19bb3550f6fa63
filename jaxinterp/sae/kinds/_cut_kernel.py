r"""The cuts of rows as a TPU kernel: rows are sifted in fast memory, and what is left is counted.

A row is dealt to 512 cells, column by column. The few largest entries of each cell are kept, in one
pass. Where no cell may hide an entry at or above the cut, the cut of what was kept is that of the row; else
the whole block of rows is counted. With k columns chosen at random a block of 32 rows is counted whole
once in fifty times or less (`depth`).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...typing import JaxArray
from ._cut import kth_largest, ordered

MOST = 2**20  # entries of one block of rows: 4 MiB, and the block before it and its keys beside it
LANES = 512  # columns that are compared together, and cells of a row
RISK = 0.02  # the share of blocks of 32 rows that may be counted whole
LOWEST = int(
    np.float32(-np.inf).view(np.int32) ^ np.int32(np.iinfo(np.int32).max)
)  # the key of minus infinity


def fits_kernel(shape: Sequence[int], dtype: Any) -> bool:
    """Whether the kernel serves arrays of this shape and dtype: float32 rows of whole tiles, eight of them in memory.

    With 64-bit numbers on it serves none: a TPU's kernels have no 64-bit indices.
    """
    return (
        jnp.result_type(float) != jnp.float64
        and len(shape) == 2
        and dtype == jnp.float32
        and not shape[0] % 8
        and not shape[1] % LANES
        and 8 * shape[1] <= MOST
    )


@functools.cache
def depth(k: int, m: int) -> int:
    r"""How many entries of a cell are kept for the k largest of m, or 0 where sifting is no gain.

    The number in a cell is about Poisson, of the mean $k / 512$. Sifting and counting what is left must
    be half of counting all.
    """
    mean, term, tail = k / LANES, math.exp(-k / LANES), 1.0
    for kept in range(1, m // (2 * LANES) + 1):
        tail, term = tail - term, term * mean / kept
        if 32 * LANES * tail < RISK:
            return kept
    return 0


def cuts_by_kernel(
    x: JaxArray,
    k: JaxArray,
    among: JaxArray | None = None,
    *,
    most: int | None = None,
    interpret: bool = False,
) -> tuple[JaxArray, JaxArray]:
    """`cuts_of_rows(ordered(x), k, ...)` of x `(rows, m)` and `k (rows, 1)`, two int32 arrays `(rows, 1)`.

    Features that are not `among (m,)` count as minus infinity. `most`: what k is at most, by default m.
    `interpret`: run as plain JAX, for tests.
    """
    m = x.shape[1]
    deep = depth(min(most or m, m), m)
    line = (1, jnp.int32)
    body = functools.partial(_cuts, few=among is not None, deep=deep)
    scratch = [m] + [deep * LANES] * bool(deep)
    cut, last = _by_blocks(body, x, [k], among, [line, line], scratch, interpret)
    return cut, last


def sifted_by_kernel(f: JaxArray, deep: int, *, interpret: bool = False) -> JaxArray:
    """The `deep` largest keys of `max(f, 0)` in each cell of a row, best first: `(rows, deep * 512)` int32."""
    (found,) = _by_blocks(
        functools.partial(_sift_block, deep=deep), f, [], None, [(deep * LANES, jnp.int32)], [], interpret
    )
    return found


def _by_blocks(
    body: Callable[..., None],
    x: JaxArray,
    lines: Sequence[JaxArray],
    among: JaxArray | None,
    out: Sequence[tuple[int, Any]],
    scratch: Sequence[int],
    interpret: bool,
) -> Sequence[JaxArray]:
    """A kernel over blocks of rows of x and `lines`, with results and integers in fast memory of these widths."""
    from jax.experimental import pallas as pl  # not at import time: it takes a while
    from jax.experimental.pallas import tpu as pltpu

    rows, m = x.shape
    block = next(n for n in (64, 32, 16, 8) if not rows % n and (n * m <= MOST or n == 8))
    spec = lambda width: pl.BlockSpec((block, width), lambda i: (i, 0))
    given: list[Any] = [x, *lines]
    specs = [spec(one.shape[1]) for one in given]
    if among is not None:
        given.append(among.astype(jnp.int32).reshape(1, m))
        specs.append(pl.BlockSpec((1, m), lambda i: (0, 0)))
    return pl.pallas_call(
        body,
        grid=(rows // block,),
        in_specs=specs,
        out_specs=[spec(width) for width, _ in out],
        out_shape=[jax.ShapeDtypeStruct((rows, width), dtype) for width, dtype in out],
        scratch_shapes=[pltpu.VMEM((block, width), jnp.int32) for width in scratch],
        interpret=interpret,
    )(*given)


def _part(i: Any, width: int = LANES, start: int = 0) -> Any:
    """Columns of one part of a row."""
    from jax.experimental import pallas as pl

    return pl.ds(pl.multiple_of(i * LANES + start, width), width)


def _several(parts: int, size: int) -> int:
    """How many parts of this size one turn of a loop takes: a turn of little work is mostly waiting."""
    return next(n for n in (16, 8, 4, 2, 1) if not parts % n and n * size <= 2**16)


def _sift(read: Callable[[Any, Any], Any], into: Any, parts: int, deep: int) -> None:
    """Keeps the `deep` largest keys of each cell; `read(rows, columns)` gives keys."""
    from jax.experimental import pallas as pl

    width = LANES if deep <= 6 else LANES // 2  # what is kept of eight rows stays in registers
    several = _several(parts, 16 * LANES)  # one key passes `deep` comparisons in turn: several pass at once

    def eight(i: Any, _: Any) -> Any:
        rows = pl.ds(pl.multiple_of(i * 8, 8), 8)
        for start in range(0, LANES, width):

            def insert(turn: Any, best: Any, start: int = start) -> Any:
                for j in range(several):
                    key, after = read(rows, _part(turn * several + j, width, start)), []
                    for one in best:
                        after.append(jnp.maximum(one, key))
                        key = jnp.minimum(one, key)
                    best = tuple(after)
                return best

            none = jnp.full((8, width), np.iinfo(np.int32).min, jnp.int32)
            best = jax.lax.fori_loop(0, parts // several, insert, (none,) * deep)
            for n, one in enumerate(best):
                into[rows, n * LANES + start : n * LANES + start + width] = one
        return 0

    jax.lax.fori_loop(0, into.shape[0] // 8, eight, 0)


def _sift_block(f: Any, into: Any, *, deep: int) -> None:
    read = lambda rows, columns: ordered(jnp.maximum(f[rows, columns], 0.0))
    _sift(read, into, f.shape[1] // LANES, deep)


def _counting(keys: Any) -> Callable[..., Any]:
    """A function of `good(keys, columns)` to the number of such entries of each row, as floats, which hold it exactly."""
    block, m = keys.shape
    parts = m // LANES
    several = _several(parts, block * LANES)

    def count(good: Any) -> Any:
        def add(turn: Any, total: Any) -> Any:
            for i in range(several):
                at = turn * several + i
                columns = at * LANES + jax.lax.broadcasted_iota(jnp.int32, (block, LANES), 1)
                total = total + jnp.where(good(keys[:, _part(at)], columns), 1.0, 0.0)
            return total

        total = jax.lax.fori_loop(0, parts // several, add, jnp.zeros((block, LANES), jnp.float32))
        return jnp.sum(total, -1, keepdims=True)

    return count


def _cuts(x: Any, k: Any, *refs: Any, few: bool, deep: int) -> None:
    """The cuts of one block of rows, whose keys are kept in `keys`; `sieve` has what is kept of the cells."""
    from jax.experimental import pallas as pl

    among, (cut, last, keys, *sieve) = refs[:few], refs[few:]
    block, m = x.shape
    wanted = k[...].astype(jnp.float32)

    def read(rows: Any, columns: Any) -> Any:
        here = ordered(x[rows, columns])
        return jnp.where(among[0][:, columns] > 0, here, LOWEST) if few else here

    def found(count: Any) -> tuple[Any, Any, Any]:
        """The cut, how many entries at the cut are wanted, and how many there are too many."""
        at = kth_largest(lambda guesses: [count(lambda e, _, g=g: e >= g) for g in guesses], wanted, k[...])
        missing = wanted - count(lambda e, _: e > at)
        return at, missing, jnp.where(at > LOWEST, count(lambda e, _: e == at) - missing, 0.0)

    def whole() -> None:
        def keep(i: Any, _: Any) -> Any:
            keys[:, _part(i)] = read(slice(None), _part(i))
            return 0

        jax.lax.fori_loop(0, m // LANES, keep, 0)
        count = _counting(keys)
        at, missing, more = found(count)
        cut[...] = at
        last[...] = jnp.full((block, 1), np.iinfo(np.int32).max, jnp.int32)

        @pl.when(jnp.max(more) > 0)
        def _() -> None:
            back = lambda guesses: [count(lambda e, c, g=g: (e == at) & (m - 1 - c >= g)) for g in guesses]
            last[...] = jnp.where(more > 0, m - 1 - kth_largest(back, missing, k[...], size=m), last[...])

    if not deep:
        return whole()
    _sift(read, sieve[0], m // LANES, deep)
    at, _, more = found(_counting(sieve[0]))
    cut[...] = at
    last[...] = jnp.full((block, 1), np.iinfo(np.int32).max, jnp.int32)
    # A full cell whose least entry is at the cut or above may hide more of them.
    hides = (sieve[0][:, _part(deep - 1)] >= jnp.maximum(at, LOWEST + 1)).astype(jnp.float32)
    pl.when(jnp.max(jnp.maximum(jnp.max(hides, -1, keepdims=True), more)) > 0)(whole)
