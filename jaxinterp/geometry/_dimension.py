"""How many dimensions a cloud of activations has, and how far its directions spread."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_number, concrete
from ..core._subspace import with_largest_entry_one
from ..nn._linear import einsum
from ..typing import ArrayLike, FloatLike
from ._matrices import as_matrix, centred, check_varies, evened

CANDIDATES = 8  # nearest rows by products, measured again by differences


def participation_ratio(x: ArrayLike) -> Float[Array, ""]:
    r"""$(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$ of the eigenvalues of the covariance: the effective number of dimensions.

    **Arguments:**

    - `x (n, p)`: activations of n examples.

    **Returns:** a number between 1 and `min(n - 1, p)`; p where the variance is equal in all directions.

    **Raises:** ValueError for one row, rows that are all equal, and values that are not finite.

    ```python
    ji.geometry.participation_ratio(jax.random.normal(jax.random.key(0), (1000, 8)))     # nearly 8
    ```

    Law: orthogonal maps, one scale and translations change nothing.
    """
    x = as_matrix(x, "x")
    check_varies(x, "x")
    return _participation(evened(x))


@eqx.filter_jit
def _participation(x: Float[Array, "n p"]) -> Float[Array, ""]:
    x = centred(x)
    x = x / jnp.linalg.norm(x)
    pattern = "ip,jp->ij" if len(x) < x.shape[1] else "np,nq->pq"
    return 1 / jnp.square(einsum(pattern, x, x)).sum()


def two_nn(x: ArrayLike, *, fraction: FloatLike = 0.9) -> Float[Array, ""]:
    r"""$d$ of $-\log(1 - F(\mu)) = d \log \mu$, with $\mu = r_2 / r_1$ of each row's two nearest: the intrinsic dimension.

    Facco et al. 2017 (https://doi.org/10.1038/s41598-017-11873-y). Only distances to the two nearest rows are used,
    so the density of the cloud need not be even.

    **Arguments:**

    - `x (n, p)`: activations of n different examples, at least 10.
    - `fraction`: the share of rows, those with the smallest ratios, to which the line is fitted. Default 0.9.

    **Returns:** the slope of the line through the origin.

    **Raises:** ValueError for fewer rows, rows that are equal, a share outside of 0..1, and values that are
    not finite.

    ```python
    plane = jax.random.uniform(jax.random.key(0), (1000, 2)) @ jax.random.normal(jax.random.key(1), (2, 50))
    ji.geometry.two_nn(plane)                            # nearly 2
    ```

    Law: orthogonal maps, one scale and translations change nothing.
    """
    x = as_matrix(x, "x", 10)
    share = jnp.asarray(as_number(fraction, "fraction", 0.01, 1), x.dtype)
    if concrete(x) and len(np.unique(np.asarray(x), axis=0)) < len(x):
        raise ValueError(
            "Rows of x are equal, and the nearest of each is then at the distance 0. Keep one of each: "
            "np.unique(x, axis=0). Tokens at the first position of a text are such rows."
        )
    return _two_nn(evened(x), share)


@eqx.filter_jit
def _two_nn(x: Float[Array, "n p"], fraction: Float[Array, ""]) -> Float[Array, ""]:
    x, n = centred(x), len(x)
    size = jnp.square(x).sum(1)

    def nearest(row: Array) -> Array:
        square = size + size[row] - 2 * einsum("np,p->n", x, x[row])
        square = jnp.where(jnp.arange(n) == row, jnp.inf, square)
        # Products round where distances are small beside lengths: measured again by differences.
        near = jax.lax.top_k(-square, min(CANDIDATES, n - 1))[1]
        exact = jnp.sort(jnp.square(x[near] - x[row][None]).sum(1))
        return jnp.log(exact[1] / exact[0]) / 2

    log_mu = jnp.sort(jax.lax.map(nearest, jnp.arange(n), batch_size=64))
    place = jnp.arange(n, dtype=x.dtype)
    kept = place < jnp.maximum(jnp.floor(fraction * n), 2)
    share = jnp.minimum((place + 1) / n, 1 - 0.5 / n)  # F of the last row is 1
    rise = -jnp.log1p(-share)
    return jnp.where(kept, log_mu * rise, 0).sum() / jnp.where(kept, jnp.square(log_mu), 0).sum()


def anisotropy(x: ArrayLike) -> Float[Array, ""]:
    r"""$\langle \cos(x_i, x_j) \rangle_{i \ne j}$: the mean cosine of two different activations.

    Ethayarajh 2019 (https://arxiv.org/abs/1909.00512).

    **Arguments:**

    - `x (n, p)`: activations of n examples. Do not centre them: centred activations have an anisotropy near 0.

    **Returns:** a number between -1 / (n - 1) and 1; near 0 for directions that are spread evenly.

    **Raises:** ValueError for one row, a row of zeros, and values that are not finite.

    ```python
    ji.geometry.anisotropy(ji.data.activations(model, corpus, "resid_post[1]"))
    ```

    Law: orthogonal maps and a positive scale of each row change nothing.
    """
    x = as_matrix(x, "x")
    if concrete(x) and (empty := ~np.asarray(x).any(1)).any():
        raise ValueError(
            f"A row of zeros has no direction; row {int(np.argmax(empty))} of x is one. Drop it."
        )
    return _anisotropy(x)


@eqx.filter_jit
def _anisotropy(x: Float[Array, "n p"]) -> Float[Array, ""]:
    x, n = with_largest_entry_one(x), len(x)
    unit = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return (jnp.square(unit.sum(0)).sum() - n) / (n * (n - 1))
