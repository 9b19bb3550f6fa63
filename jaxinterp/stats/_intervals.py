r"""Intervals of means: Student's, and those of the bootstrap.

How often an interval contains the true mean depends on the number of values and on how skewed they are:
the docstring of `ji.patching.statistics` has the measured table.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from ..core._check import as_int, as_number, as_numbers, check_choice, check_key
from ..typing import ArrayLike, FloatLike, KeyLike
from ._results import Result

INTERVALS = ("t", "bca", "percentile")


@dataclasses.dataclass(frozen=True, eq=False)
class MeanInterval(Result):
    """Means with their intervals; made by `mean_interval`.

    - `mean (...)`: the mean of each row of values.
    - `low (...)`, `high (...)`: the ends of its interval.
    - `level`: the coverage that the interval aims at.

    ```python
    found = ji.stats.mean_interval([0.2, 0.5, 0.3, 0.4])
    found.mean, (found.low, found.high)
    ```
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float


def mean_interval(
    values: ArrayLike,
    *,
    key: KeyLike | None = None,
    level: float | int = 0.95,
    resamples: int = 2000,
    interval: str = "t",
) -> MeanInterval:
    r"""$\bar x \pm t_{n-1}\, s / \sqrt n$, or the interval of resampled means.

    **Arguments:**

    - `values (..., n)`: two values or more for each mean.
    - `key`: draws the resamples; "t" needs none.
    - `level`: the coverage that the interval aims at, between 0 and 1. Default 0.95.
    - `resamples`: how many resamples. Default 2000.
    - `interval`: "t", Student's (the default); "bca", bias-corrected and accelerated (Efron 1987,
      https://doi.org/10.1080/01621459.1987.10478410); "percentile" (Efron 1979,
      https://doi.org/10.1214/aos/1176344552). The last two are too narrow for few values.

    **Returns:** `MeanInterval`, with arrays `(...)`.

    **Raises:** ValueError for fewer than two values, another name, a level outside of 0..1, no key.

    ```python
    found = ji.stats.mean_interval([0.2, 0.5, 0.3, 0.4])
    float(found.low), float(found.high)
    ```

    Law: "bca" and "percentile" agree with SciPy.
    """
    rows = jnp.asarray(as_numbers(values, "values"), jnp.result_type(float))
    if rows.ndim < 1 or rows.shape[-1] < 2:
        raise ValueError(f"An interval needs two values or more, (..., n); got the shape {rows.shape}.")
    level = check_level(level)
    resamples = as_int(resamples, "resamples", 1)
    check_choice(interval, "interval", INTERVALS)
    unused = jax.random.key(0) if interval == "t" and key is None else key
    drawn = check_key(unused, "ji.stats.mean_interval(..., key={})")
    reach = jnp.asarray(interval_reach(level, rows.shape[-1]), rows.dtype)
    low, high = _interval(rows, drawn, reach, resamples, interval)
    return MeanInterval(np.asarray(rows.mean(-1)), np.asarray(low), np.asarray(high), level)


@eqx.filter_jit
def _interval(rows: Array, key: KeyLike, reach: Array, resamples: int, interval: str) -> tuple[Array, Array]:
    count = rows.shape[-1]
    weights = resample_weights(key, count, resamples, rows.dtype)
    found = jax.lax.map(
        lambda row: mean_ends(row, weights, reach, interval), rows.reshape(-1, count), batch_size=64
    )
    low, high = (end.reshape(rows.shape[:-1]) for end in found)
    return low, high


def check_level(level: FloatLike) -> float:
    """A coverage, between 0 and 1."""
    level = as_number(level, "level", 0, 1)
    if not 0 < level < 1:
        raise ValueError(f"level is the coverage that the interval aims at, between 0 and 1; got {level}.")
    return level


def interval_reach(level: float, count: int) -> np.ndarray:
    """How far the two ends reach: quantiles `(2,)` of the normal and of Student's distribution."""
    tail = (1 + level) / 2
    return np.array([scipy.special.ndtri(tail), scipy.special.stdtrit(count - 1, tail)])


def resample_weights(key: KeyLike, count: int, resamples: int, dtype: jnp.dtype) -> Float[Array, "r n"]:
    """The share `(resamples, count)` of each of `count` values in each resample, with replacement."""
    picks = jax.random.randint(key, (resamples, count), 0, count)
    return jax.nn.one_hot(picks, count, dtype=dtype).sum(1) / count


def mean_ends(values: Array, weights: Array, reach: Array, interval: str) -> tuple[Array, Array]:
    """Both ends of the interval of the mean of `values (n,)`; may be traced.

    `weights` as in `resample_weights`, `reach` as in `interval_reach`.
    """
    mean = values.mean()
    if interval == "t":
        half = reach[1] * values.std(ddof=1) / math.sqrt(values.shape[-1])
        return mean - half, mean + half
    means = jnp.matmul(weights, values, precision="highest")
    levels = (
        bca_levels(values, means, reach[0])
        if interval == "bca"
        else jax.scipy.stats.norm.cdf(jnp.stack([-reach[0], reach[0]]))
    )
    low, high = jnp.quantile(means, levels)
    return low, high


def bca_levels(values: Array, means: Array, reach: Array) -> Float[Array, "2"]:
    r"""Levels $\Phi\big(z_0 + \frac{z_0 \pm z}{1 - a (z_0 \pm z)}\big)$ of the resampled means of `values (n,)`."""
    mean = values.mean()
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    # Where every resample lies on one side, half a resample stands for none.
    half = 0.5 / len(means)
    bias = jax.scipy.stats.norm.ppf(jnp.clip(below, half, 1 - half))
    off = values - mean
    square = (off**2).sum()
    skew = jnp.where(square > 0, (off**3).sum() / (6 * jnp.where(square > 0, square, 1) ** 1.5), 0)
    shifted = bias + jnp.stack([-reach, reach])
    return jax.scipy.stats.norm.cdf(bias + shifted / (1 - skew * shifted))


def percentile_levels(level: float) -> list[float]:
    """The two quantiles between which a share `level` of resamples lies."""
    return [(1 - level) / 2, (1 + level) / 2]


def widened_levels(level: float, count: int) -> list[float]:
    """Quantiles of resampled means of `count` values that reach as far as Student's distribution.

    Those of `percentile_levels` are too narrow for few values: by the ratio of Student's quantile to
    that of the normal distribution, and by $\\sqrt{n / (n-1)}$.
    """
    reach = np.sqrt(count / (count - 1)) * scipy.special.stdtrit(count - 1, (1 + level) / 2)
    return [float(scipy.special.ndtr(-reach)), float(scipy.special.ndtr(reach))]


def resample_counts(rng: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """How often each of `count` values stands in each resample, `(resamples, count)`, on the host."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples)


def ratio_ends(
    sums: np.ndarray, counts: np.ndarray, level: float, rng: np.random.Generator, resamples: int = 1000
) -> np.ndarray:
    """Ends `(2, ...)` of the intervals of `sums (..., document)` over `counts (document,)`, on the host.

    Documents are resampled. One document has no interval: its ends are NaN.
    """
    if len(counts) < 2:
        return np.full((2, *sums.shape[:-1]), np.nan)
    weights = resample_counts(rng, len(counts), resamples)
    drawn = sums @ weights.T / np.maximum(weights @ counts, 1)
    return np.quantile(drawn, widened_levels(level, len(counts)), axis=-1)
