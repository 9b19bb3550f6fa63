"""Canonical correlations: what two sides share up to any invertible linear map of each."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_number, concrete
from ..nn._linear import einsum
from ..typing import ArrayLike, FloatLike
from ._matrices import as_matrices, centred, check_varies, spread


def cca(x: ArrayLike, y: ArrayLike) -> Float[Array, " k"]:
    r"""$\rho_i = \sigma_i(Q_x^\top Q_y)$: the canonical correlations of two sides, falling.

    $Q$ is an orthonormal basis of the centred columns (Hotelling 1936, https://doi.org/10.2307/2333955). The mean of
    the correlations is the mean CCA. The mean of their squares is Yanai's generalised coefficient of determination.

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: activations of the same n examples; n is larger than p and q.

    **Returns:** `(min(p, q),)` numbers in 0..1.

    **Raises:** the errors of `cka`, and ValueError for columns that are linear functions of others and for too few
    rows: any two sides then share a direction exactly.

    ```python
    x = jax.random.normal(jax.random.key(0), (100, 4))
    ji.geometry.cca(x, x @ jax.random.normal(jax.random.key(1), (4, 4))).mean()     # 1.0
    ```

    Law: an invertible linear map and a translation of each side change nothing.
    """
    a, b = as_matrices(x, y)
    for name, side in (("x", a), ("y", b)):
        _check_rank(side, name)
    return _cca(a, b)[0]


def svcca(x: ArrayLike, y: ArrayLike, *, variance: FloatLike = 0.99) -> Float[Array, ""]:
    r"""$\frac{1}{k} \sum_i \rho_i$: the mean canonical correlation of the first principal components of both sides.

    Raghu et al. 2017 (https://arxiv.org/abs/1706.05806). k is the smaller number of components.

    **Arguments:**

    - `x (n, p)`, `y (n, q)`: activations of the same n examples; columns may depend on each other.
    - `variance`: the share of the variance of each side that is kept; 0.99 by default.

    **Returns:** a number in 0..1. With as many components as rows it is 1 for any two sides, so give many examples.

    **Raises:** the errors of `cka`, and ValueError for a share outside of 0..1.

    ```python
    ji.geometry.svcca(x, y)
    ```

    Law: orthogonal maps, one scale and translations change nothing. Other invertible maps change which components are
    kept; where all components are kept, they change nothing.
    """
    a, b = as_matrices(x, y)
    check_varies(a, "x")
    check_varies(b, "y")
    return _svcca(a, b, jnp.asarray(as_number(variance, "variance", 1e-6, 1), a.dtype))


def pwcca(x: ArrayLike, y: ArrayLike) -> Float[Array, ""]:
    r"""$\sum_i \alpha_i \rho_i / \sum_i \alpha_i$, with $\alpha_i = \sum_j |\langle h_i, x_j \rangle|$ of the canonical variate $h_i$ of x.

    The weight of a correlation is the part of the columns $x_j$ along its variate (Morcos et al. 2018,
    https://arxiv.org/abs/1806.05759). The result depends on which side is first.

    **Arguments:** and **Raises:** those of `cca`.

    **Returns:** a number in 0..1.

    ```python
    (ji.geometry.pwcca(x, y) + ji.geometry.pwcca(y, x)) / 2          # the same for both orders
    ```

    Law: an invertible linear map of y, one scale of x, and translations change nothing.
    """
    a, b = as_matrices(x, y)
    for name, side in (("x", a), ("y", b)):
        _check_rank(side, name)
    return _pwcca(a, b)


def _check_rank(x: Float[Array, "n p"], name: str) -> None:
    """Raises where columns depend on each other, or rows are too few, as far as x can be looked at."""
    check_varies(x, name)
    n, p = x.shape
    if n - 1 < p or n < 3:
        raise ValueError(
            f"CCA of {p} columns of {name} needs more than {p} rows, and far more to say anything; got {n}. With so "
            "few every correlation is 1. Read more examples, or keep fewer directions: ji.geometry.svcca(x, y)."
        )
    if not concrete(x):
        return
    values = np.asarray(x, np.float64)
    values = values - values.mean(0)
    s = np.linalg.svd(values, compute_uv=False)
    rank = int((s > s[0] * max(n, p) * np.finfo(np.asarray(x).dtype).eps).sum())
    if rank < p:
        flat = np.flatnonzero(np.ptp(np.asarray(x), axis=0) == 0)
        why = f"column {int(flat[0])} never varies" if len(flat) else "some are linear functions of others"
        raise ValueError(
            f"CCA inverts the covariance of the columns, and those of {name} have the rank {rank} of {p}: {why}. "
            "Drop such columns, or keep the directions that vary: ji.geometry.svcca(x, y, variance=0.99)."
        )


@eqx.filter_jit
def _cca(x: Float[Array, "n p"], y: Float[Array, "n q"]) -> tuple[Array, Array, Array]:
    """Correlations, the basis of x, and its directions in that basis."""
    bases = []
    for side in (x, y):
        u, _, (_, varies) = spread(centred(side))
        bases.append(jnp.where(varies[None], u, 0))
    left, rho, _ = jnp.linalg.svd(einsum("np,nq->pq", *bases), full_matrices=False)
    return jnp.clip(rho, 0, 1), bases[0], left


@eqx.filter_jit
def _svcca(x: Float[Array, "n p"], y: Float[Array, "n q"], variance: Float[Array, ""]) -> Float[Array, ""]:
    bases, counts = [], []
    for side in (x, y):
        u, s, (_, varies) = spread(centred(side))
        power = jnp.square(s)
        before = jnp.cumsum(power) - power
        # A direction is kept while those before it hold less than the share.
        kept = varies & (before < variance * power.sum() * (1 - jnp.finfo(s.dtype).eps))
        bases.append(jnp.where(kept[None], u, 0))
        counts.append(kept.sum())
    rho = jnp.linalg.svd(einsum("np,nq->pq", *bases), compute_uv=False)
    return jnp.clip(rho, 0, 1).sum() / jnp.minimum(*counts).astype(rho.dtype)


@eqx.filter_jit
def _pwcca(x: Float[Array, "n p"], y: Float[Array, "n q"]) -> Float[Array, ""]:
    rho, basis, left = _cca(x, y)
    variates = einsum("np,pk->nk", basis, left)
    weight = jnp.abs(einsum("nk,np->kp", variates, centred(x))).sum(1)
    return (weight * rho).sum() / weight.sum()
