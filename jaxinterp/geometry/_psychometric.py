"""How often an observer is right, as a function of how strong the signal is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from .. import viz
from .._arguments import as_bool, as_number, concrete
from ..stats._intervals import check_level
from ..stats._results import Record, Result
from ..typing import ArrayLike, BoolLike, FloatLike
from ._matrices import as_floating

STEPS = 200


class Psychometric(Result, eqx.Module):
    """A psychometric curve; made by `psychometric`.

    - `threshold`, `slope`: the curve is $\\sigma(\\text{slope}\\, (x - \\text{threshold}))$ without guesses and lapses.
    - `threshold_low`, `threshold_high`, `slope_low`, `slope_high`: the intervals of both.
    - `guess`, `lapse`: the distance of the curve from 0 at the lowest levels, and from 1 at the highest.
    - `deviance`: twice the difference to the log-likelihood of a curve through every level.

    ```python
    curve = ji.geometry.psychometric([-2, -1, 0, 1, 2], [1, 4, 9, 16, 19], [20] * 5)
    curve(np.array([-1.0, 1.0])), curve.slope
    ```
    """

    threshold: Float[Array, ""]
    slope: Float[Array, ""]
    threshold_low: Float[Array, ""]
    threshold_high: Float[Array, ""]
    slope_low: Float[Array, ""]
    slope_high: Float[Array, ""]
    guess: Float[Array, ""]
    lapse: Float[Array, ""]
    deviance: Float[Array, ""]

    def __call__(self, x: ArrayLike) -> Float[Array, "..."]:
        """The curve at levels x."""
        x = as_floating(x, "x").astype(self.threshold.dtype)
        return _curve(x, self.threshold, self.slope, self.guess, self.lapse)

    def records(self) -> list[Record]:
        """One row."""
        return [{name: float(np.asarray(value)) for name, value in self.items()}]

    def figure(self, *, title: str = "Psychometric curve", reach: float | int = 6) -> viz.Figure:
        """The curve, as far to both sides as `reach` over its slope."""
        far = abs(reach / float(self.slope))
        x = np.linspace(float(self.threshold) - far, float(self.threshold) + far, 101)
        curves = {"share right": np.asarray(self(x))}
        return viz.lines(curves, x=x, title=title, x_axis="level", y_axis="share right")


def psychometric(
    level: ArrayLike,
    right: ArrayLike,
    trials: ArrayLike,
    *,
    guess: FloatLike = 0.0,
    lapses: BoolLike = False,
    coverage: FloatLike = 0.95,
) -> Psychometric:
    r"""$P(\text{right} \mid x) = \gamma + (1 - \gamma - \lambda)\, \sigma(\beta (x - \alpha))$, fitted by maximum likelihood.

    Wichmann and Hill 2001 (https://doi.org/10.3758/BF03194544). Counts are binomial. The intervals come from the
    curvature of the likelihood.

    **Arguments:**

    - `level (k,)`: the strength of the signal; three levels or more, four with lapses.
    - `right (k,)`, `trials (k,)`: the number of right trials at each level, and the number of all trials.
    - `guess`: $\gamma$, the share that is right by guessing: 0 by default, 0.5 for two choices.
    - `lapses`: whether $\lambda$ is fitted; by default it is 0.
    - `coverage`: the coverage of the intervals; 0.95 by default.

    **Returns:** `Psychometric`, a function of levels.

    **Raises:** ValueError where the lengths differ, for too few levels, more right trials than trials, no trials, and
    equal shares at every level, which have no threshold.

    ```python
    curve = ji.geometry.psychometric([-2, -1, 0, 1, 2], [1, 4, 9, 16, 19], [20] * 5)
    float(curve.threshold), float(curve(0.0))
    ```

    Law: without guesses and lapses it is logistic regression.
    """
    fits = as_bool(lapses, "lapses")
    x, k, n = (as_floating(z, name) for z, name in ((level, "level"), (right, "right"), (trials, "trials")))
    least = 4 if fits else 3
    if x.ndim != 1 or not x.shape == k.shape == n.shape or len(x) < least:
        raise ValueError(
            f"level, right and trials are (k,) with the same k, at least {least}; got the shapes {x.shape}, "
            f"{k.shape} and {n.shape}."
        )
    if concrete(k) and concrete(n):
        counts, total = np.asarray(k), np.asarray(n)
        if (total <= 0).any() or (counts < 0).any() or (counts > total).any():
            raise ValueError(
                "Each level has trials, and right counts those that are right: 0 <= right <= trials."
            )
        if np.ptp(counts / total) == 0:
            raise ValueError("The share right is the same at every level, so no curve has a threshold.")
    dtype = np.promote_types(np.promote_types(x.dtype, k.dtype), n.dtype)
    reach = scipy.special.ndtri((1 + check_level(coverage)) / 2)
    floor = as_number(guess, "guess", 0, 0.99)
    x, k, n = (z.astype(dtype) for z in (x, k, n))
    return _psychometric(x, k, n, jnp.asarray(floor, dtype), jnp.asarray(reach, dtype), fits)


def _curve(x: Array, threshold: Array, slope: Array, guess: Array, lapse: Array) -> Array:
    return guess + (1 - guess - lapse) * jax.nn.sigmoid(slope * (x - threshold))


@eqx.filter_jit
def _psychometric(x: Array, k: Array, n: Array, guess: Array, reach: Array, fits: bool) -> Psychometric:
    middle, scale = x.mean(), x.std()
    z, total = (x - middle) / scale, n.sum()
    tiny = jnp.finfo(x.dtype).eps

    def lapse_of(parameters: Array) -> Array:  # at most a half of what guessing leaves
        free = jax.nn.sigmoid(parameters[2]) * (1 - guess) / 2
        return free if fits else jnp.zeros((), x.dtype)

    def loss(parameters: Array) -> Array:
        lapse = lapse_of(parameters)
        p = guess + (1 - guess - lapse) * jax.nn.sigmoid(parameters[0] + parameters[1] * z)
        p = jnp.clip(p, tiny, 1 - tiny)
        return -(k * jnp.log(p) + (n - k) * jnp.log1p(-p)).sum() / total

    free = 3 if fits else 2

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        """Newton's step, damped until it lowers the loss (Levenberg and Marquardt)."""
        at, damping = state
        slope, curvature = jax.grad(loss)(at), jax.hessian(loss)(at)
        values, vectors = jnp.linalg.eigh(curvature)
        inner = vectors.T @ slope
        new = at - vectors @ (inner / (jnp.abs(values) + damping))
        better = loss(new) <= loss(at)
        return (jnp.where(better, new, at), jnp.clip(damping * jnp.where(better, 0.3, 4), 1e-7, 1e4)), None

    start = jnp.array([0.0, 1.0, -3.0], x.dtype)[:free]
    # A slope of the sign of the data.
    weight = n / total
    share = k / n
    rises = (weight * (z - (weight * z).sum()) * share).sum()
    start = start.at[1].set(jnp.where(rises < 0, -1.0, 1.0))
    (best, _), _ = jax.lax.scan(step, (start, jnp.asarray(1e-2, x.dtype)), None, length=STEPS)

    def shape(parameters: Array) -> Array:
        slope = parameters[1] / scale
        return jnp.stack([middle - parameters[0] / slope, slope])

    found = shape(best)
    covariance = jnp.linalg.pinv(jax.hessian(loss)(best) * total, hermitian=True)
    jacobian = jax.jacobian(shape)(best)
    half = reach * jnp.sqrt(jnp.maximum(jnp.diagonal(jacobian @ covariance @ jacobian.T), 0))
    ends = jnp.stack([found - half, found + half])
    p = jnp.clip(share, tiny, 1 - tiny)
    saturated = -(k * jnp.log(p) + (n - k) * jnp.log1p(-p)).sum()
    deviance = jnp.maximum(2 * (loss(best) * total - saturated), 0)
    return Psychometric(
        found[0], found[1], ends[0, 0], ends[1, 0], ends[0, 1], ends[1, 1], guess, lapse_of(best), deviance
    )
