r"""The cut of rows for a GPU: among the few largest numbers of each cell of a row, then counted in the whole row.

A row is dealt to 1,024 cells, column by column, and the four largest different numbers of a cell are its candidates.
The k-th largest candidate is the cut where fewer than k entries of the row are above it and at least k are not below
it. Where a row has another cut, because a cell hides an entry or numbers are equal, all rows are counted whole.
"""

import jax
import jax.numpy as jnp

from ...typing import JaxArray
from ._cut import GPU_BITS, counting, kth_largest, last_at

CELLS = 1024
DEEP = 4
"Candidates of a cell: with 64 columns at random, one cell of 100 million holds more of them."
MOST = 64
"The largest k that is searched in candidates."


def suits_maxima(k: int, m: int) -> bool:
    """Whether candidates are a small part of a row and few of them hide an entry."""
    return k <= MOST and m % CELLS == 0 and m >= 4 * DEEP * CELLS


def cuts_by_maxima(keys: JaxArray, k: JaxArray, columns: JaxArray) -> tuple[JaxArray, JaxArray]:
    """`cuts_of_rows(keys, k, columns)` of keys `(batch, m)`, whatever they are; quick where k entries stand at random."""
    rows = keys.reshape(len(keys), -1, CELLS)
    least = jnp.asarray(jnp.iinfo(keys.dtype).min, keys.dtype)
    found = [jnp.max(rows, 1)]
    for _ in range(DEEP - 1):
        found.append(jnp.max(jnp.where(rows < found[-1][:, None], rows, least), 1))
    cut = kth_largest(counting(jnp.concatenate(found, -1)), k, keys[:, :1], GPU_BITS)
    above = jnp.sum(keys > cut, -1, keepdims=True, dtype=jnp.int32)
    level = jnp.sum(keys >= cut, -1, keepdims=True, dtype=jnp.int32)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where every cut is right.
    turn = lambda state: (kth_largest(counting(keys), k, keys[:, :1], GPU_BITS), jnp.bool_(True))
    right = jnp.all((above < k) & (level >= k))
    cut = jax.lax.while_loop(lambda state: ~state[1], turn, (cut, right))[0]
    return cut, last_at(keys, cut, k, columns, lambda numbers: numbers, GPU_BITS)
