"""The fold inside of a compiled program: rows that may be traced, one `lax.scan` over batches."""

from typing import Any

import jax
import jax.numpy as jnp

from ._batches import Batch
from ._fold import captured


def fold_rows(
    model: Any,
    captures: Any,
    init: Any,
    step: Any,
    *,
    tokens: Any,
    mask: Any,
    positions: Any,
    size: int,
    padded: bool = True,
    extra: Any = None,
) -> Any:
    r"""$s_{i+1} = f(s_i, b_i, a(b_i))$, as `fold`, of arrays under `jit`, `vmap` or `grad`.

    **Arguments:**

    - `model`, `captures`, `init`, `step`: as in `fold`.
    - `tokens` `(row, pos)`, or embeddings `(row, pos, d)`; `mask` and `positions` `(row, pos)`.
    - `size`: rows of a batch; the last one is filled up with rows that count nothing.
    - `padded`: whether the model is given the mask.
    - `extra`: a tree of arrays with one entry for each row.

    Law: any size gives the same, to rounding.
    """
    rows = tokens.shape[0]
    size = max(1, min(size, rows))
    count = (rows + size - 1) // size

    def advance(state: Any, number: Any) -> Any:
        index = number * size + jnp.arange(size, dtype=jnp.int32)
        there = index < rows
        index = jnp.minimum(index, rows - 1)
        whole = count == 1 and size == rows
        take = (lambda x: x) if whole else (lambda x: jnp.take(x, index, axis=0))
        real = take(mask)
        batch = Batch(
            number,
            index,
            take(tokens),
            real,
            take(positions) & there[:, None],
            real if padded else None,
            jax.tree.map(take, extra),
        )
        return step(state, batch, captured(model, captures, batch)), None

    if count == 1:
        return advance(init, jnp.int32(0))[0]
    return jax.lax.scan(advance, init, jnp.arange(count, dtype=jnp.int32))[0]
