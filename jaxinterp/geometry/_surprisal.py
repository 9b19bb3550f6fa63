"""How much of reading times the surprisal of a model explains, beyond what is known of the words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, check_key
from ..stats._intervals import mean_interval
from ..stats._permutation import sign_flip_test
from ..stats._results import Result
from ..typing import ArrayLike, FloatLike, IntLike, KeyLike
from ._matrices import as_floating


@dataclasses.dataclass(frozen=True, eq=False)
class SurprisalRegression(Result):
    """The gain of a regression of reading times by surprisal; made by `surprisal_regression`.

    - `delta`: the gain in log-likelihood of each held-out word in nats, a mean. `low`, `high`: its interval.
    - `p`: how often the mean gain is at least as far from 0 when the signs of words are flipped at random.
    - `coefficients (k,)`: units of time for each nat, in the regression on all words.
    - `r2`, `r2_controls`: the share of variance on held-out words, with surprisal and with the controls alone.

    ```python
    found = ji.geometry.surprisal_regression(times, nats, lengths[:, None], key=jax.random.key(0))
    found.delta, found.coefficients, found.r2 - found.r2_controls
    ```
    """

    delta: float
    low: float
    high: float
    p: float
    coefficients: np.ndarray
    r2: float
    r2_controls: float

    def records(self) -> list[dict[str, object]]:
        """One row; coefficients as a list."""
        return [{name: np.asarray(value).tolist() for name, value in self.items()}]


def surprisal_regression(
    times: ArrayLike,
    surprisal: ArrayLike,
    controls: ArrayLike | None = None,
    *,
    key: KeyLike,
    folds: IntLike = 10,
    level: FloatLike = 0.95,
) -> SurprisalRegression:
    r"""$\Delta = \frac{1}{n} \sum_i \log \mathcal{N}(t_i; \hat t_i^{\,s}, \sigma_s) - \log \mathcal{N}(t_i; \hat t_i, \sigma)$ on held-out words.

    The psychometric predictive power of a language model (Goodkind and Bicknell 2018,
    https://doi.org/10.18653/v1/W18-0102; Wilcox et al. 2020, https://arxiv.org/abs/2006.01912). Both regressions are
    linear with normal errors. One has surprisal and controls, the other the controls alone.

    **Arguments:**

    - `times (n,)`: reading times, or any response to n words.
    - `surprisal (n,)` or `(n, k)`: the surprisal of each word in nats. More columns may hold the surprisal of the words
      before it, because readers spend time on these too.
    - `controls (n, c)`: other predictors, such as length and log frequency; none but a constant by default.
    - `key`: a `jax.random.key`, which puts words into folds.
    - `folds`: how many parts are held out in turn; 10 by default.
    - `level`: the coverage of the interval; 0.95 by default.

    **Returns:** `SurprisalRegression`. A `delta` below 0 means that surprisal fits noise alone.

    **Raises:** ValueError where the lengths differ, for values that are not finite, times or a surprisal that never
    vary, and too few words for the columns.

    ```python
    ji.geometry.surprisal_regression(times, nats, lengths[:, None], key=jax.random.key(0)).delta
    ```

    Law: shifts and scales of times, surprisal and controls change nothing.
    """
    t = np.asarray(as_floating(times, "times"), np.float64)
    if t.ndim != 1:
        raise ValueError(f"times is (n,), a number for each word; got the shape {t.shape}.")
    s, c = _columns(surprisal, "surprisal", len(t)), np.zeros((len(t), 0))
    if controls is not None:
        c = _columns(controls, "controls", len(t))
    folds = as_int(folds, "folds", 2)
    wide = s.shape[1] + c.shape[1] + 1
    if len(t) < 2 * folds or len(t) - -(-len(t) // folds) <= wide + 1:
        raise ValueError(
            f"{len(t)} words are too few for {folds} folds and {wide} coefficients with the mean: two words a fold, "
            "and more words to fit than coefficients. Give more words or fewer columns."
        )
    if np.ptp(t) == 0 or (np.ptp(s, axis=0) == 0).any():
        raise ValueError("Times and each column of surprisal vary between words; one of these does not.")
    key = check_key(key, "ji.geometry.surprisal_regression(times, surprisal, key={})")
    place = np.asarray(jax.random.permutation(key, jnp.arange(len(t)) * folds // len(t)))
    scaled = lambda z: (z - z.mean(0)) / np.where(z.std(0) > 0, z.std(0), 1)
    ones = np.ones((len(t), 1))
    base, full = np.hstack([ones, scaled(c)]), np.hstack([ones, scaled(c), scaled(s)])
    (log_base, left_base), (log_full, left_full) = (_held_out(z, t, place, folds) for z in (base, full))
    gain = log_full - log_base
    # Words are many: the interval of Student and flips of signs both take them as independent.
    ends = mean_interval(gain, level=level)
    spread = ((t - t.mean()) ** 2).sum()
    weights = np.linalg.lstsq(full, t, rcond=None)[0][-s.shape[1] :] / s.std(0)
    return SurprisalRegression(
        float(gain.mean()),
        float(ends.low),
        float(ends.high),
        float(sign_flip_test(gain, key=key)),
        weights,
        float(1 - (left_full**2).sum() / spread),
        float(1 - (left_base**2).sum() / spread),
    )


def _columns(value: ArrayLike, name: str, count: int) -> np.ndarray:
    found = np.asarray(as_floating(value, name), np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != count:
        raise ValueError(
            f"{name} is ({count},) or ({count}, k), a row for each word of times; got the shape {found.shape}."
        )
    return found


def _held_out(x: np.ndarray, t: np.ndarray, place: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood and error of each word, by regressions that have not seen it."""
    logs, errors = np.zeros(len(t)), np.zeros(len(t))
    for fold in range(folds):
        tested = place == fold
        weights, _, rank, _ = np.linalg.lstsq(x[~tested], t[~tested], rcond=None)
        seen = t[~tested] - x[~tested] @ weights
        variance = max((seen**2).sum() / (len(seen) - rank), 1e-12 * t.var())
        errors[tested] = t[tested] - x[tested] @ weights
        logs[tested] = -0.5 * (np.log(2 * np.pi * variance) + errors[tested] ** 2 / variance)
    return logs, errors
