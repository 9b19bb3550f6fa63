r"""Directions between two sets of activations: $\mu_+ - \mu_-$ and what others make of the same rows.

Every estimator takes activations `(n, ..., d)` of two classes, with prompts on the first axis. The axes between,
such as layers and positions, give one direction each.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_floats, as_number, concrete
from ..stats.solvers import as_problem, solve_regression
from ..typing import ArrayLike, FloatLike


def difference_in_means(harmful: ArrayLike, harmless: ArrayLike) -> Float[Array, "*axes d"]:
    r"""$r = \frac{1}{n} \sum_i x^+_i - \frac{1}{m} \sum_j x^-_j$: the difference of the means of two classes.

    It is the refusal direction of Arditi et al. 2024 (https://arxiv.org/abs/2406.11717), and for any two classes the
    mean-difference direction of Marks & Tegmark 2023 (https://arxiv.org/abs/2310.06824).

    **Arguments:**

    - `harmful (n, ..., d)`: activations of the class that the direction points to.
    - `harmless (m, ..., d)`: activations of the other class.

    **Returns:** `(..., d)`. Its length is the distance of the two means. Means of arrays that are not traced are summed
    in float64.

    **Raises:** ValueError for an empty class, for shapes that differ after the first axis, and for activations that are
    not finite.

    ```python
    yes, no = x[y], x[~y]                               # activations (n, d) of the two classes
    direction = ji.steering.difference_in_means(yes, no)
    ```

    Laws: swapping the classes changes the sign; adding one vector to all rows changes nothing.
    """
    x, y = _classes(harmful, harmless)
    return mean_over_prompts(x) - mean_over_prompts(y)


def mass_mean(
    harmful: ArrayLike, harmless: ArrayLike, *, shrinkage: FloatLike = 0.0
) -> Float[Array, "*axes d"]:
    r"""$r = \Sigma^{-1} (\mu_+ - \mu_-)$: the difference of means, whitened by the covariance within classes.

    Marks & Tegmark 2023 (https://arxiv.org/abs/2310.06824). It is Fisher's linear discriminant.

    **Arguments:**

    - `harmful (n, ..., d)`, `harmless (m, ..., d)`: activations of the two classes.
    - `shrinkage`: $\Sigma$ becomes $(1 - s) \Sigma + s\, \frac{\mathrm{tr} \Sigma}{d} I$, s from 0 to 1. Default 0.

    **Returns:** `(..., d)`. Use its projection to distinguish the classes. To add a direction to activations, use
    `difference_in_means`.

    **Raises:** ValueError for a covariance that has no inverse, for example where `n + m - 2 < d`.

    ```python
    probe = ji.steering.mass_mean(yes, no, shrinkage=0.1)
    (yes @ probe).mean(), (no @ probe).mean()
    ```

    Laws: with `shrinkage=1` it points along `difference_in_means`; where a linear map A is applied to the rows, it
    changes by $A^{-\top}$.
    """
    x, y = _classes(harmful, harmless)
    share = as_number(shrinkage, "shrinkage", 0, 1)
    d, rows = x.shape[-1], len(x) + len(y) - 2
    if rows < d and share == 0:
        raise ValueError(
            f"The covariance of {len(x)} and {len(y)} prompts has rank {max(rows, 0)} at most, and {d} dimensions: it "
            "has no inverse. Give more prompts, or mass_mean(harmful, harmless, shrinkage=0.1)."
        )
    means = mean_over_prompts(x), mean_over_prompts(y)
    off = jnp.concatenate([x - means[0][None], y - means[1][None]])
    covariance = jnp.einsum("n...i,n...j->...ij", off, off, precision="highest") / max(rows, 1)
    size = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None] / d
    covariance = (1 - share) * covariance + share * size * jnp.broadcast_to(
        jnp.eye(d, dtype=covariance.dtype), covariance.shape
    )
    found = jnp.linalg.solve(covariance, (means[0] - means[1])[..., None])[..., 0]
    least = d * float(jnp.finfo(covariance.dtype).eps)
    if concrete(covariance):
        values = np.linalg.eigvalsh(np.asarray(covariance, np.float64))
        if (values[..., 0] <= least * values[..., -1]).any():
            raise ValueError(
                "The covariance within classes is singular: some combination of dimensions never varies. Give "
                "mass_mean(harmful, harmless, shrinkage=0.1), or drop these dimensions."
            )
    return found


def logistic(harmful: ArrayLike, harmless: ArrayLike, *, gamma: FloatLike = 1.0) -> np.ndarray:
    r"""$\min_{w,b} \sum_i \omega_i \log(1 + e^{-y_i (w \cdot x_i + b)}) + \frac{1}{2\gamma} \lVert w \rVert^2$: the weights of a logistic probe.

    It uses the solver of `ji.probes.fit` with balanced classes, in float64 on the host. Each entry of the axes between n
    and d has a probe of its own.

    **Arguments:**

    - `harmful (n, ..., d)`, `harmless (m, ..., d)`: activations of the two classes.
    - `gamma`: $\gamma$, the inverse of the ridge. Default 1.

    **Returns:** weights `(..., d)` float64.

    ```python
    weights = ji.steering.logistic(yes, no)             # yes (n, d), no (m, d)
    ```

    Law: equal to `ji.probes.fit(x, y).weights` for the rows of both classes.
    """
    x, y = (np.asarray(each, np.float64) for each in _classes(harmful, harmless))
    rows = np.concatenate([x, y])
    labels = np.repeat([1, 0], [len(x), len(y)])
    flat = rows.reshape(len(rows), -1, rows.shape[-1])

    def weights(one: np.ndarray) -> np.ndarray:
        problem = as_problem(one, labels, "logistic", gamma, True, True)
        return solve_regression(problem, np.arange(one.shape[1]), 1e-8, 100).weights

    found = np.stack([weights(flat[:, i]) for i in range(flat.shape[1])])
    return found.reshape(rows.shape[1:])


def principal_difference(harmful: ArrayLike, harmless: ArrayLike) -> Float[Array, "*axes d"]:
    r"""$\arg\max_{\lVert v \rVert = 1} \sum_i (v \cdot (x^+_i - x^-_i))^2$: the first principal axis of differences of pairs.

    Representation reading, Zou et al. 2023 (https://arxiv.org/abs/2310.01405). In the paper the order within each pair
    is random, so the differences have mean zero. Here the order is fixed and the differences are not centred, which is
    the same in expectation.

    **Arguments:**

    - `harmful`, `harmless`: activations `(n, ..., d)`. Row i of one and row i of the other are a pair.

    **Returns:** `(..., d)` of length 1, with the sign for which the differences are positive on average. It is zero where
    all differences are.

    **Raises:** ValueError for classes of different sizes.

    ```python
    reader = ji.steering.principal_difference(yes, no)  # (n, d) each, in pairs
    ```

    Laws: swapping the members of all pairs changes the sign; where all differences are multiples of one vector, the
    result points along it.
    """
    x, y = _classes(harmful, harmless)
    if len(x) != len(y):
        raise ValueError(
            f"Pairs are rows of equal number: got {len(x)} and {len(y)}. Without pairs use "
            "difference_in_means(harmful, harmless)."
        )
    rows = jnp.moveaxis(x - y, 0, -2)
    axis = jnp.linalg.svd(rows, full_matrices=False)[2][..., 0, :]
    side = jnp.einsum("...nd,...d->...", rows, axis, precision="highest")
    found = jnp.where(side[..., None] < 0, -axis, axis)
    return jnp.where((rows != 0).any((-2, -1))[..., None], found, 0)


def _classes(harmful: Any, harmless: Any) -> tuple[Any, Any]:
    """Both classes as floats of at least 32 bits, with equal axes behind the first."""
    x, y = as_floats(harmful, "harmful"), as_floats(harmless, "harmless")
    if x.ndim < 2 or y.ndim < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            "A direction is between two arrays (n, ..., d) and (m, ..., d) with prompts on the first axis; got the "
            f"shapes {x.shape} and {y.shape}."
        )
    if not len(x) or not len(y):
        raise ValueError(f"A class needs at least one prompt; got {len(x)} and {len(y)}.")
    for name, each in (("harmful", x), ("harmless", y)):
        if concrete(each) and not np.isfinite(numbers := np.asarray(each, np.float64)).all():
            bad = np.argwhere(~np.isfinite(numbers))[0].tolist()
            raise ValueError(
                f"Activations are finite; {name}{bad} is {numbers[tuple(bad)]}. Were they read at padding, or did "
                f"float16 overflow? Drop such prompts: {name}[np.isfinite({name}).reshape(len({name}), -1).all(1)]."
            )
    wide = np.promote_types(np.promote_types(x.dtype, y.dtype), np.float32)
    return x.astype(wide), y.astype(wide)


def mean_over_prompts(x: Any) -> Array:
    """The mean over the first axis, in float64 where the values are known."""
    if concrete(x):
        return jnp.asarray(np.asarray(x).mean(0, dtype=np.float64).astype(x.dtype))
    return x.mean(0)
