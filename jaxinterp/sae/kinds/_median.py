"""The geometric median: where a bias begins."""

from typing import Any

import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray


@respelled(most="turns=")
@jax.jit
def geometric_median(x: ArrayLike, tol: float = 1e-5, turns: int = 100) -> JaxArray:
    r"""$\arg\min_m \sum_i \lVert x_i - m \rVert$ by Weiszfeld's iteration: a mean that outliers do not move.

    **Arguments:**

    - `x (n, d)`: the rows;
    - `tol`: it stops when a turn moves the median by less than this share of its norm;
    - `turns`: the largest number of turns.

    **Returns:** the median `(d,)`, float32.
    """
    x = jnp.asarray(x).astype(jnp.float32)

    def step(state: Any) -> Any:
        m, _, turn = state
        weight = 1 / jnp.maximum(jnp.linalg.norm(x - m[None], axis=-1), 1e-8)
        new = jnp.sum(weight[:, None] * x, 0) / jnp.sum(weight)
        moved = jnp.linalg.norm(new - m) / jnp.maximum(jnp.linalg.norm(new), 1e-12)
        return new, moved, turn + 1

    start = jnp.mean(x, 0), jnp.float32(jnp.inf), jnp.int32(0)
    return jax.lax.while_loop(lambda s: (s[1] > tol) & (s[2] < turns), step, start)[0]
