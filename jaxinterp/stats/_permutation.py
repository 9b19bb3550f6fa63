"""Permutation tests: how often chance reaches what was observed, and which of many results are real."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core._check import as_int, as_number, as_numbers, check_key
from ..typing import ArrayLike, FloatLike, KeyLike

EXACT = 12
"""Up to this many values all sign patterns are counted."""


def sign_flip_test(values: ArrayLike, *, key: KeyLike, resamples: int = 2000) -> np.ndarray:
    r"""$p = P(|\bar x^{\pm}| \ge |\bar x|)$: the p-value of a mean, for the hypothesis that the true mean is 0.

    Without an effect, $x$ and $-x$ are equally likely. All $2^n$ patterns of signs are counted for up to 12
    values, so that p is at least $2^{1-n}$. For more values `resamples` patterns are drawn, and the
    observed one is added.

    **Arguments:**

    - `values (..., n)`: differences that are 0 on average if there is no effect.
    - `key`: draws the patterns.
    - `resamples`: how many patterns are drawn. Default 2000.

    **Returns:** p-values `(...)`; NaN for a row with a value that is not finite.

    **Raises:** ValueError for no values, and for an int in place of a key.

    ```python
    ji.stats.sign_flip_test([0.3, 0.5, 0.2, 0.4], key=jax.random.key(0))  # 2 of 16 patterns: 0.125
    ```

    Law: without an effect p is uniform.
    """
    rows = jnp.asarray(as_numbers(values, "values"), jnp.result_type(float))
    if rows.ndim < 1 or not rows.shape[-1]:
        raise ValueError(f"A test needs values (..., n); got the shape {rows.shape}.")
    key = check_key(key, "ji.stats.sign_flip_test(values, key={})")
    return np.asarray(_sign_flip_test(rows, key, as_int(resamples, "resamples", 1)))


@eqx.filter_jit
def _sign_flip_test(rows: Array, key: KeyLike, resamples: int) -> Array:
    signs, added = sign_patterns(key, rows.shape[-1], resamples, rows.dtype)
    flat = rows.reshape(-1, rows.shape[-1])
    found = jax.lax.map(lambda row: sign_flip_p(row, signs, added), flat, batch_size=64)
    return found.reshape(rows.shape[:-1])


def sign_patterns(
    key: KeyLike, count: int, resamples: int, dtype: jnp.dtype
) -> tuple[Float[Array, "r n"], int]:
    """Patterns of signs for `count` values, and how many observed patterns are added to those drawn."""
    if count <= EXACT:
        bits = jnp.arange(2**count, dtype=jnp.int32)[:, None] >> jnp.arange(count, dtype=jnp.int32)[None]
        return 1 - 2 * (bits & 1).astype(dtype), 0
    return jax.random.rademacher(key, (resamples, count), dtype), 1


def sign_flip_p(values: Array, signs: Array, added: int) -> Float[Array, ""]:
    """The p-value of the mean of `values (n,)` among `sign_patterns`; may be traced."""
    mean = values.mean()
    null = jnp.abs(jnp.matmul(signs, values, precision="highest")) / values.shape[-1]
    # What differs by rounding alone counts as equal.
    reached = (null >= jnp.abs(mean) * (1 - 1e-5)).sum(dtype=values.dtype)
    p = (reached + added) / (len(signs) + added)
    return jnp.where(jnp.isfinite(mean), p, jnp.nan)  # without an effect there is no p-value


def permutation_p(observed: FloatLike, null: ArrayLike) -> float:
    r"""$p = \frac{1 + \#\{s_r \ge s\}}{1 + R}$: the p-value of a score, from scores by chance.

    **Arguments:**

    - `observed`: the score, where higher is better.
    - `null (R,)`: scores of R random orders or random choices.

    **Returns:** the p-value; NaN where a score is not finite.

    **Raises:** ValueError for several observed scores, and for no scores of chance.

    Phipson & Smyth 2010 (https://doi.org/10.2202/1544-6115.1585).

    ```python
    ji.stats.permutation_p(0.9, [0.5, 0.6, 0.4])  # 0.25
    ```

    Law: where the observed score is by chance too, p is uniform.
    """
    drawn = np.asarray(as_numbers(null, "null"), np.float64)
    if drawn.ndim != 1 or not len(drawn) or np.ndim(observed):
        raise ValueError(
            "observed is one score and null (R,) the scores of one random order or more; got the shapes "
            f"{np.shape(observed)} and {drawn.shape}. For many scores call it for each."
        )
    if not np.isfinite(observed) or not np.isfinite(drawn).all():
        return float("nan")
    return float((1 + (drawn >= observed).sum()) / (1 + len(drawn)))


def discoveries(p: ArrayLike, rate: FloatLike = 0.05) -> Bool[np.ndarray, "*cells"]:
    r"""$p \le p_{(k)}$: which results are significant, with an expected share of false ones of at most `rate`.

    k is the largest with $p_{(k)} \le \alpha k / n$ over n results (Benjamini and Hochberg 1995,
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x).

    **Arguments:**

    - `p (...)`: p-values; NaN is no result.
    - `rate`: the expected share of false discoveries. Default 0.05.

    **Returns:** bools `(...)`.

    **Raises:** ValueError for p-values or a rate outside of 0..1.

    ```python
    ji.stats.discoveries([0.001, 0.02, 0.8])  # True, True, False
    ```

    Law: where no result is real, one set of results in 1 / rate has a discovery.
    """
    p = np.asarray(as_numbers(p, "p"), np.float64)
    rate = as_number(rate, "rate", 0, 1)
    if outside := p[(p < 0) | (p > 1)].tolist():
        raise ValueError(f"p-values are between 0 and 1; got {outside[0]:g}.")
    ordered = np.sort(p[np.isfinite(p)])
    passed = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    return p <= ordered[passed[-1]] if len(passed) else np.zeros(p.shape, bool)
