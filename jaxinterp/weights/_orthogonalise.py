"""Weights that cannot write a direction: directional ablation without edits."""

import jax.numpy as jnp
import numpy as np

from ..core._check import as_floats, concrete
from ..core._subspace import without_span
from ..typing import M, ValueLike
from ._leaves import WRITERS, check_layout, leaf, put, untied


def orthogonalise(model: M, direction: ValueLike) -> M:
    r"""$W' = W - W \hat r \hat r^\top$: no weight writes along a direction to the residual stream any more.

    Arditi et al. 2024 (https://arxiv.org/abs/2406.11717), section 4.1. Rows of `w_embed` and `w_pos`, and what `w_o`,
    `b_o`, `w_out` and `b_out` write.

    **Arguments:**

    - `model`: a model of `ji.models`. A tied unembedding gets its own copy first: it reads the stream and
      does not write to it.
    - `direction`: one direction `(d,)`, or several `(n, d)` whose span is removed, of any length.

    **Returns:** a new model; the stream at every site is orthogonal to the direction.

    **Raises:** ValueError for zeros, for another width, and for a model with edits of its own.

    ```python
    quiet = ji.weights.orthogonalise(model, direction)
    ```

    The embeddings of `ji.run(model, embeddings)` are no weights, and stay as they are given.

    Laws: logits are those of `ji.run(model, tokens, edits=ji.steering.ablate(direction))`; a second time
    changes nothing.
    """
    d = check_layout(model, "orthogonalise").w_embed.shape[-1]
    directions = as_floats(direction, "direction")
    if directions.ndim not in (1, 2) or directions.shape[-1] != d:
        raise ValueError(
            f"orthogonalise takes a direction (d,) or several (n, d) with d={d}; got the shape {directions.shape}. "
            "A selection has one: orthogonalise(model, found.direction)."
        )
    rows = np.atleast_2d(np.asarray(directions)) if concrete(directions) else None
    if rows is not None and not (np.isfinite(rows).all() and rows.any(-1).all()):
        raise ValueError(
            "orthogonalise needs directions of finite numbers that are not zero: zeros name no direction to remove."
        )
    model = untied(model)
    found = {path: leaf(model, path) for path in WRITERS}
    along = jnp.asarray(directions)
    new = {path: without_span(w, along).astype(w.dtype) for path, w in found.items() if w is not None}
    return put(model, new)
