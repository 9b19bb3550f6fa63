"""Decoder rows of norm 1, as a wrapper of any optax optimizer."""

import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax

from ...fit._checks import check_optimizer
from ...fit._step import apply_optimizer
from ...typing import OptimizerLike, PyTree
from ..kinds._rows import unit_norm


@functools.lru_cache(32)  # one object for one optimizer: a second training compiles nothing again
def unit_rows(optimizer: OptimizerLike) -> optax.GradientTransformation:
    r"""$g_i \leftarrow g_i - (g_i \cdot d_i)\, d_i$ before the optimizer, $d_i \leftarrow d_i / \lVert d_i \rVert$ after it.

    A step that is orthogonal to a unit vector makes it longer, so the rows are also divided by their norm. `train` wraps
    the optimizer of each kind with unit rows.

    **Arguments:**

    - `optimizer`: an optimizer of optax.

    **Returns:** an optimizer of optax, for dictionaries with a `decoder`.

    ```python
    optimizer = ji.sae.unit_rows(optax.adam(1e-3))
    ```

    Law: rows keep norm 1 to 1e-6, and the gradient that the optimizer sees is orthogonal to them.
    """
    check_optimizer(optimizer)
    decoder = lambda tree: tree.decoder

    def update(updates: PyTree, state: PyTree, params: Any = None) -> tuple[PyTree, PyTree]:
        rows, g = params.decoder, updates.decoder
        along = jnp.sum(g * rows, -1, keepdims=True)
        updates = eqx.tree_at(decoder, updates, g - along * rows)
        updates, state = apply_optimizer(optimizer, updates, state, params)
        moved = unit_norm(rows + updates.decoder) - rows
        return eqx.tree_at(decoder, updates, moved), state

    return optax.GradientTransformation(optimizer.init, update)
