"""Scores of predicted numbers."""

import dataclasses

import numpy as np

from .._arguments import as_numbers
from ..typing import ArrayLike
from ._examples import as_real
from ._results import Result
from ._scores import Value, ratio


@dataclasses.dataclass(frozen=True, eq=False)
class RegressionMetrics(Result):
    """Measures of predicted numbers; made by `regression_metrics`.

    - `r2`, `explained_variance`: 1 is best. `mse`, `mae`, `median_ae`: errors, 0 is best.
    - `pearson`, `spearman`: correlations, of values and of ranks.

    ```python
    found = ji.stats.regression_metrics([1.0, 2.0, 3.0], [1.1, 1.9, 3.2])
    found.r2, found["spearman"]
    ```
    """

    r2: Value
    explained_variance: Value
    mse: Value
    mae: Value
    median_ae: Value
    pearson: Value
    spearman: Value


def regression_metrics(y: ArrayLike, predicted: ArrayLike) -> RegressionMetrics:
    r"""$R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$ and other measures of predicted numbers.

    **Arguments:**

    - `y (n,)`: targets.
    - `predicted (n,)`: predictions.

    **Returns:** `RegressionMetrics`. Ranks of equal values are their mean. For targets that are all equal `r2`
    and `explained_variance` are 1 where the predictions are exact and else 0. Correlations are 0 where a
    side is constant.

    **Raises:** ValueError for lengths that differ or values that are not finite.

    ```python
    ji.probes.regression_metrics([1.0, 2.0, 3.0], [1.1, 1.9, 3.2]).r2
    ```

    Law: equal to scikit-learn and SciPy.
    """
    from scipy.stats import rankdata

    targets = np.asarray(as_numbers(y, "y"))
    if targets.ndim != 1 or not targets.size:
        raise ValueError(f"y is one target per example, (n,); got the shape {targets.shape}.")
    real, guess = as_real(targets, len(targets)), as_real(predicted, len(targets), "predicted")
    error = real - guess
    spread = float(((real - real.mean()) ** 2).sum())

    def along(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float(ratio(a @ b, np.sqrt((a @ a) * (b @ b))))

    def share(left: float) -> float:
        return 1 - left / spread if spread else float(left == 0)

    return RegressionMetrics(
        r2=share(float(error @ error)),
        explained_variance=share(float(((error - error.mean()) ** 2).sum())),
        mse=float((error**2).mean()),
        mae=float(np.abs(error).mean()),
        median_ae=float(np.median(np.abs(error))),
        pearson=along(real, guess),
        spearman=along(rankdata(real), rankdata(guess)),
    )
