"""Representational dissimilarity matrices: how far apart each two conditions lie."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import check_choice, concrete
from ..nn._linear import einsum
from ..typing import ArrayLike, StrLike
from ._matrices import as_floating, as_matrix, centred

DISTANCES = ("correlation", "cosine", "euclidean", "squared_euclidean")


def rdm(x: ArrayLike, *, distance: StrLike = "correlation") -> Float[Array, "n n"]:
    r"""$D_{ij} = 1 - \mathrm{corr}(x_i, x_j)$: the dissimilarity of each pair of conditions.

    Kriegeskorte et al. 2008 (https://doi.org/10.3389/neuro.06.004.2008).

    **Arguments:**

    - `x (n, p)`: the response of p units to each of n conditions.
    - `distance`: "correlation" (the default), "cosine" (one minus the cosine of the angle), "euclidean" or
      "squared_euclidean".

    **Returns:** a symmetric matrix with the diagonal 0.

    **Raises:** ValueError for one row, values that are not finite, rows with all units equal (they have no
    correlation) and rows of zeros (they have no angle).

    ```python
    x = jax.random.normal(jax.random.key(0), (10, 32))
    ji.geometry.rdm(x).shape                             # (10, 10)
    ```

    Laws: a shift and a positive scale of each row change no correlation distance; an orthogonal map changes
    no cosine and no Euclidean distance.
    """
    check_choice(distance, "distance", DISTANCES)
    x = as_matrix(x, "x")
    _check_rows(x, distance)
    return _rdm(x, distance)


@eqx.filter_jit
def _rdm(x: Float[Array, "n p"], distance: str) -> Float[Array, "n n"]:
    if distance == "correlation":
        x = x - x.mean(1, keepdims=True)
    if distance in ("correlation", "cosine"):
        x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        found = 1 - einsum("ip,jp->ij", x, x)
    else:
        x = centred(x)  # products are exact to more digits about the mean
        size = jnp.square(x).sum(1)
        found = jnp.maximum(size[:, None] + size[None] - 2 * einsum("ip,jp->ij", x, x), 0)
    same = jnp.eye(len(x), dtype=bool)
    if distance == "euclidean":  # the root of 0 has no slope
        found = jnp.where(found > 0, jnp.sqrt(jnp.where(found > 0, found, 1)), 0)
    return jnp.where(same, 0, found)


def crossnobis(x: ArrayLike, *, precision: ArrayLike | None = None) -> Float[Array, "n n"]:
    r"""$D_{ij} = \frac{1}{p} \langle (x^{f}_i - x^{f}_j)^\top P\, (x^{g}_i - x^{g}_j) \rangle_{f \ne g}$: Mahalanobis distance without bias.

    Differences of two independent folds are multiplied. So noise does not add to the distance, and two
    equal conditions have a distance of 0 on average (Walther et al. 2016,
    https://doi.org/10.1016/j.neuroimage.2015.12.012).

    **Arguments:**

    - `x (fold, n, p)`: the response of p units to each of n conditions, in each of two folds or more.
    - `precision (p, p)`: the inverse covariance of the noise. By default the identity.

    **Returns:** a symmetric matrix; entries may be below 0.

    **Raises:** ValueError for one fold, one condition, a precision of another shape or not symmetric, and
    values that are not finite.

    ```python
    folds = jax.random.normal(jax.random.key(0), (4, 10, 32))
    ji.geometry.crossnobis(folds)                        # near 0: conditions are equal, but for noise
    ```

    Law: without noise it is the squared Mahalanobis distance divided by p.
    """
    x = as_floating(x, "x")
    if x.ndim != 3 or not x.shape[2] or x.shape[0] < 2 or x.shape[1] < 2:
        raise ValueError(
            "Folds are (fold, n, p), with two folds or more and two conditions or more; got the shape "
            f"{x.shape}. One measurement of each condition has no fold to cross: ji.geometry.rdm(x)."
        )
    units = x.shape[2]
    p = jnp.eye(units, dtype=x.dtype) if precision is None else as_floating(precision, "precision")
    p = p.astype(x.dtype)
    if p.shape != (units, units):
        raise ValueError(
            f"precision is the inverse covariance of the {units} units, ({units}, {units}); got the shape {p.shape}."
        )
    if concrete(p) and not np.allclose(p, p.T, rtol=1e-4, atol=1e-5 * float(jnp.abs(p).max())):
        raise ValueError("precision is an inverse covariance, so it is symmetric: give (p + p.T) / 2.")
    return _crossnobis(x, p)


@eqx.filter_jit
def _crossnobis(x: Float[Array, "fold n p"], precision: Float[Array, "p p"]) -> Float[Array, "n n"]:
    folds, _, units = x.shape
    x = x - x.mean((0, 1), keepdims=True)
    # All ordered pairs of folds: the product of sums less each fold's with itself.
    inner = lambda a, b: einsum("ip,pq,jq->ij", a, precision, b)
    total = x.sum(0)
    pairs = inner(total, total) - einsum("fip,pq,fjq->ij", x, precision, x)
    own = jnp.diagonal(pairs)
    found = (own[:, None] + own[None] - pairs - pairs.T) / (folds * (folds - 1) * units)
    return jnp.where(jnp.eye(len(found), dtype=bool), 0, found)


def _check_rows(x: Float[Array, "n p"], distance: str) -> None:
    if not concrete(x) or distance not in ("correlation", "cosine"):
        return
    rows = np.asarray(x)
    flat = np.ptp(rows, axis=1) == 0 if distance == "correlation" else ~rows.any(1)
    if flat.any():
        what = "all units equal, so it has no correlation" if distance == "correlation" else "0 everywhere"
        raise ValueError(
            f"Row {int(np.argmax(flat))} of x is {what}. Drop that condition from both sides, or take "
            "distance='euclidean'."
        )
