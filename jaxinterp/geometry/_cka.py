"""Centred kernel alignment: whether two sides find the same examples alike."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arguments import as_bool, as_number, check_choice
from ..nn._linear import einsum
from ..stats._hsic import biased_hsic, unbiased_hsic
from ..typing import ArrayLike, BoolLike, FloatLike, StrLike
from ._kernels import KERNELS, gram
from ._matrices import as_matrices, centred, check_varies


def cka(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: StrLike = "linear",
    unbiased: BoolLike = False,
    bandwidth: FloatLike = 1.0,
) -> Float[Array, ""]:
    r"""$\mathrm{HSIC}(K, L) / \sqrt{\mathrm{HSIC}(K, K)\, \mathrm{HSIC}(L, L)}$: centred kernel alignment.

    Kornblith et al. 2019 (https://arxiv.org/abs/1905.00414). With the linear kernel it is
    $\lVert Y^\top X \rVert_F^2 / (\lVert X^\top X \rVert_F \lVert Y^\top Y \rVert_F)$ of centred columns.

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: activations of the same n examples; p and q may differ.
    - `kernel`: "linear" (the default), or "rbf", a Gaussian kernel.
    - `unbiased`: whether the unbiased estimate of HSIC is used, which needs four rows. The biased estimate is above 0
      for independent sides, and near 1 where n is not much larger than p. Default False.
    - `bandwidth`: the bandwidth of "rbf", in medians of the distances. Default 1.

    **Returns:** a number; 1 for equal geometry. The unbiased estimate may be below 0.

    **Raises:** ValueError where the numbers of rows differ, for one row, a side that does not vary, and values that
    are not finite.

    ```python
    x = jax.random.normal(jax.random.key(0), (100, 8))
    ji.geometry.cka(x, 3 * x[:, ::-1] + 1)               # 1.0: rotated, scaled and shifted
    ```

    Laws: orthogonal maps, one scale for all columns and translations of a side change nothing; with the
    linear kernel the formula above and the Gram matrices give the same number.
    """
    check_choice(kernel, "kernel", KERNELS)
    unbiased = as_bool(unbiased, "unbiased")
    a, b = as_matrices(x, y, 4 if unbiased else 2)
    check_varies(a, "x")
    check_varies(b, "y")
    width = jnp.asarray(as_number(bandwidth, "bandwidth", 1e-6, 1e6), a.dtype)
    return _cka(a, b, width, kernel, unbiased)


@eqx.filter_jit
def _cka(
    x: Float[Array, "n p"], y: Float[Array, "n q"], width: Float[Array, ""], kernel: str, unbiased: bool
) -> Float[Array, ""]:
    if kernel == "linear" and max(x.shape[1], y.shape[1]) < len(x):
        cross, own, other = (feature_hsic(a, b, unbiased) for a, b in ((x, y), (x, x), (y, y)))
    else:
        counted = jnp.ones(len(x), bool)
        k, other_k = (gram(z, kernel, width, counted)[None] for z in (x, y))
        of = unbiased_hsic if unbiased else biased_hsic
        cross, own, other = (of(a, b, counted)[0, 0] for a, b in ((k, other_k), (k, k), (other_k, other_k)))
    return aligned(cross, own, other)


def feature_hsic(x: Float[Array, "n p"], y: Float[Array, "n q"], unbiased: bool) -> Float[Array, ""]:
    r"""HSIC of linear kernels from $X^\top Y$ of centred columns, without a matrix of examples by examples."""
    x, y = centred(x), centred(y)
    n = len(x)
    total = jnp.square(einsum("np,nq->pq", x, y)).sum()
    if not unbiased:
        return total / (n - 1) ** 2
    a, b = jnp.square(x).sum(1), jnp.square(y).sum(1)
    return off_diagonal(total, (a * b).sum(), a.sum() * b.sum(), n)


def off_diagonal(total: Any, pairs: Any, sums: Any, n: float | int) -> Any:
    r"""The unbiased HSIC of n rows from $\lVert X^\top Y \rVert^2$, and of the squared lengths $a$, $b$ of centred rows $\sum_i a_i b_i$ and $\sum_{ij} a_i b_j$.

    Rows of a centred Gram matrix sum to 0, so without its diagonal they sum to minus the squared lengths.
    """
    return (total - pairs * n / (n - 2) + sums / ((n - 1) * (n - 2))) / (n * (n - 3))


def aligned(
    cross: Float[Array, "..."], own: Float[Array, "..."], other: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Cross terms over the geometric mean of the sides' own."""
    return cross / (jnp.sqrt(own) * jnp.sqrt(other))
