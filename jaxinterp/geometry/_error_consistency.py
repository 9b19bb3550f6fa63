"""Whether two observers make the same errors, beyond what their accuracies give."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy

from .._arguments import as_numbers
from ..stats._intervals import check_level
from ..stats._results import Result
from ..typing import ArrayLike, FloatLike


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorConsistency(Result):
    """The agreement of two observers about which trials are right; made by `error_consistency`.

    - `kappa`: 1 where both are right on the same trials, 0 at chance. `low`, `high`: its interval.
    - `observed`: the share of trials on which both are right or both are wrong.
    - `expected`: the same share by chance.

    ```python
    found = ji.geometry.error_consistency([True, True, False, True], [True, False, False, True])
    found.kappa, found.observed, found.expected         # 0.5, 0.75, 0.5
    ```
    """

    kappa: float
    low: float
    high: float
    observed: float
    expected: float


def error_consistency(
    correct_a: ArrayLike, correct_b: ArrayLike, *, level: FloatLike = 0.95
) -> ErrorConsistency:
    r"""$\kappa = \frac{c_{obs} - c_{exp}}{1 - c_{exp}}$, with $c_{exp} = p_1 p_2 + (1 - p_1)(1 - p_2)$: Cohen's kappa of errors.

    Geirhos et al. 2020 (https://arxiv.org/abs/2006.16736). The interval is that of Fleiss, Cohen and Everitt 1969
    (https://doi.org/10.1037/h0028106), a normal approximation for many trials.

    **Arguments:**

    - `correct_a`, `correct_b (trial,)`: whether each observer is right on each of the same trials.
    - `level`: the coverage of the interval; 0.95 by default.

    **Returns:** `ErrorConsistency`.

    **Raises:** ValueError where the numbers of trials differ, for fewer than two trials, for values that are not truth
    values, and where both observers are always right or both always wrong.

    ```python
    ji.geometry.error_consistency([True, True, False, True], [True, False, False, True]).kappa      # 0.5
    ```

    Law: for observers whose errors are independent kappa is 0 on average.
    """
    a, b = (_truths(each, name) for each, name in ((correct_a, "correct_a"), (correct_b, "correct_b")))
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"Both observers answer the same trials, two or more; got {len(a)} and {len(b)} answers."
        )
    level = check_level(level)
    table = np.array([[(~a & ~b).mean(), (~a & b).mean()], [(a & ~b).mean(), (a & b).mean()]])
    rows, cols = table.sum(1), table.sum(0)
    observed, expected = float(np.trace(table)), float(rows @ cols)
    if expected >= 1:
        raise ValueError(
            f"Both observers are {'right' if a.all() else 'wrong'} on every trial, so there are no errors to "
            "compare. Give harder or easier trials."
        )
    kappa = (observed - expected) / (1 - expected)
    marginals = cols[:, None] + rows[None]  # for each cell, of the other observer's category
    same, other = np.diag(table), table - np.diag(np.diag(table))
    first = (same * (1 - np.diag(marginals) * (1 - kappa)) ** 2).sum()
    second = (1 - kappa) ** 2 * (other * marginals**2).sum()
    variance = (first + second - (kappa - expected * (1 - kappa)) ** 2) / (1 - expected) ** 2
    half = scipy.special.ndtri((1 + level) / 2) * np.sqrt(max(variance, 0) / len(a))
    return ErrorConsistency(
        kappa, max(-1.0, float(kappa - half)), min(1.0, float(kappa + half)), observed, expected
    )


def _truths(value: ArrayLike, name: str) -> np.ndarray:
    found = np.asarray(as_numbers(value, name))
    if found.ndim != 1 or not jnp.isin(found, np.array([0, 1], found.dtype)).all():
        raise ValueError(
            f"{name} is (trial,), True where the observer is right; got {found.dtype} of the shape {found.shape}. "
            "From answers: answers == targets."
        )
    return found.astype(bool)
