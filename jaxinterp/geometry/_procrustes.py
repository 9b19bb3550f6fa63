"""How far apart two sides are after the best rotation of one onto the other."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..nn._linear import einsum
from ..typing import ArrayLike
from ._matrices import as_matrices, centred, check_varies


def procrustes(x: ArrayLike, y: ArrayLike) -> Float[Array, ""]:
    r"""$\min_R \lVert X - Y R \rVert_F^2 = 2 - 2 \lVert X^\top Y \rVert_*$: the distance of two centred sides of norm 1 after the best rotation R.

    Williams et al. 2021 (https://arxiv.org/abs/2110.14739); Ding et al. 2021 (https://arxiv.org/abs/2108.01661).

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: activations of the same n examples. The narrower side is filled up with zeros.

    **Returns:** a number in 0..2; 0 for equal geometry.

    **Raises:** ValueError where the numbers of rows differ, for one row, a side that does not vary, and values that
    are not finite.

    ```python
    x = jax.random.normal(jax.random.key(0), (100, 8))
    ji.geometry.procrustes(x, 3 * x[:, ::-1] + 1)        # 0.0
    ```

    Laws: orthogonal maps, one scale and translations change nothing; the root is a distance, with the triangle
    inequality.
    """
    a, b = as_matrices(x, y)
    check_varies(a, "x")
    check_varies(b, "y")
    return _procrustes(a, b)


@eqx.filter_jit
def _procrustes(x: Float[Array, "n p"], y: Float[Array, "n q"]) -> Float[Array, ""]:
    x, y = (side / jnp.linalg.norm(side) for side in (centred(x), centred(y)))
    if len(x) < min(x.shape[1], y.shape[1]):  # the same singular values, from n by n
        x, y = (jnp.linalg.qr(side.T, mode="r").T for side in (x, y))
        product = einsum("ni,nj->ij", x, y)
    else:
        product = einsum("np,nq->pq", x, y)
    return jnp.maximum(2 - 2 * jnp.linalg.svd(product, compute_uv=False).sum(), 0)
