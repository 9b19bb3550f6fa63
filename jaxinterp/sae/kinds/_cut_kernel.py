r"""The cuts of rows as a TPU kernel: rows stay in fast memory while their entries are counted 32 times."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...typing import JaxArray
from ._cut import kth_largest, ordered

MOST = 2**20  # entries of one block of rows: 4 MiB, and the block before it and its keys beside it
LANES = 512  # columns that are compared together


def fits_kernel(shape: Sequence[int], dtype: Any) -> bool:
    """Whether the kernel serves arrays of this shape and dtype: float32 rows of whole tiles, eight of them in memory."""
    return (
        len(shape) == 2
        and dtype == jnp.float32
        and not shape[0] % 8
        and not shape[1] % LANES
        and 8 * shape[1] <= MOST
    )


def cuts_by_kernel(
    x: JaxArray, k: JaxArray, among: JaxArray | None = None, *, interpret: bool = False
) -> tuple[JaxArray, JaxArray]:
    """`cuts_of_rows(ordered(x), k, ...)` of x `(rows, m)` and `k (rows, 1)`, two int32 arrays `(rows, 1)`.

    Features that are not `among (m,)` count as minus infinity. `interpret`: run as plain JAX, for tests.
    """
    from jax.experimental import pallas as pl  # not at import time: it takes a while
    from jax.experimental.pallas import tpu as pltpu

    rows, m = x.shape
    block = next(n for n in (64, 32, 16, 8) if not rows % n and (n * m <= MOST or n == 8))
    given: list[Any] = [x, k]
    line = pl.BlockSpec((block, 1), lambda i: (i, 0))
    specs = [pl.BlockSpec((block, m), lambda i: (i, 0)), line]
    if among is not None:
        given.append(among.astype(jnp.int32).reshape(1, m))
        specs.append(pl.BlockSpec((1, m), lambda i: (0, 0)))
    return pl.pallas_call(
        functools.partial(_cuts, few=among is not None),
        grid=(rows // block,),
        in_specs=specs,
        out_specs=[line, line],
        out_shape=[jax.ShapeDtypeStruct((rows, 1), jnp.int32)] * 2,
        scratch_shapes=[pltpu.VMEM((block, m), jnp.int32)],
        interpret=interpret,
    )(*given)


def _cuts(x: Any, k: Any, *refs: Any, few: bool) -> None:
    """The cuts of one block of rows: its keys are kept in `keys`, and counted from there."""
    from jax.experimental import pallas as pl

    *among, cut, last, keys = refs
    block, m = x.shape
    parts = m // LANES
    several = next(n for n in (16, 8, 4, 2, 1) if not parts % n and n * block * LANES <= 2**16)
    part = lambda i: pl.ds(pl.multiple_of(i * LANES, LANES), LANES)

    def keep(i: Any, _: Any) -> Any:
        here = ordered(x[:, part(i)])
        if few:
            here = jnp.where(among[0][:, part(i)] > 0, here, int(LOWEST))
        keys[:, part(i)] = here
        return 0

    jax.lax.fori_loop(0, parts, keep, 0)

    def count(good: Any) -> Any:
        """How many entries of each row are `good(keys, columns)`, as floats, which hold them exactly."""

        def add(turn: Any, total: Any) -> Any:
            for i in range(several):  # a turn of little work is mostly waiting
                at = turn * several + i
                columns = at * LANES + jax.lax.broadcasted_iota(jnp.int32, (block, LANES), 1)
                total = total + jnp.where(good(keys[:, part(at)], columns), 1.0, 0.0)
            return total

        total = jax.lax.fori_loop(0, parts // several, add, jnp.zeros((block, LANES), jnp.float32))
        return jnp.sum(total, -1, keepdims=True)

    wanted = k[...].astype(jnp.float32)
    at = kth_largest(lambda guesses: [count(lambda e, _, g=g: e >= g) for g in guesses], wanted, k[...])
    missing = wanted - count(lambda e, _: e > at)
    level = count(lambda e, _: e == at)
    cut[...] = at
    last[...] = jnp.full((block, 1), np.iinfo(np.int32).max, jnp.int32)

    @pl.when(jnp.max(level - missing) > 0)
    def _() -> None:
        back = lambda guesses: [count(lambda e, c, g=g: (e == at) & (m - 1 - c >= g)) for g in guesses]
        last[...] = m - 1 - kth_largest(back, missing, k[...], size=m)


LOWEST = np.float32(-np.inf).view(np.int32) ^ np.int32(np.iinfo(np.int32).max)  # the key of minus infinity
