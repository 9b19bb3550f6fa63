"""The geometric median: where a bias begins."""

from typing import Any

import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray


@respelled(most="turns=")
@jax.jit
def geometric_median(x: ArrayLike, tol: float = 1e-5, turns: int = 100) -> JaxArray:
    r"""$\arg\min_m \sum_i \lVert x_i - m \rVert$ by Weiszfeld's iteration: a centre that outliers hardly change.

    **Arguments:**

    - `x (n, d)`: the rows;
    - `tol`: the iteration stops when a turn moves the median by less than this share of its norm, by default 1e-5;
    - `turns`: the largest number of turns, by default 100.

    **Returns:** the median `(d,)`, float32.

    ```python
    ji.sae.geometric_median(jnp.array([[0.0, 0.0], [1.0, 0.0], [100.0, 0.0]]))     # near [1, 0]
    ```
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
