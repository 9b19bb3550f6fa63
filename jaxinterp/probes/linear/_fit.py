"""One probe on given features, to convergence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...stats._examples import as_support
from ...stats.solvers import as_problem, solve_regression


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear probe with what its solver reached; made by `fit`.

    `support (k,)` columns of x; `weights (k,)`; `bias`; `value` the objective, `bound` what its dual
    proves, `gap` (value - bound) / value; `converged` where the gap is within the tolerance.
    """

    support: np.ndarray
    weights: np.ndarray
    bias: float
    value: float
    bound: float
    gap: float
    converged: bool
    iterations: int
    loss: str
    gamma: float
    features: int

    def decision(self, x: Any) -> np.ndarray:
        """Scores `x[..., support] @ weights + bias`, `(...,)` for x `(..., d)`."""
        x = np.asarray(x)
        if not x.ndim or x.shape[-1] != self.features:
            raise ValueError(
                f"This probe reads d={self.features} features, the last axis of x; got {x.shape}."
            )
        return x[..., self.support].astype(np.float64) @ self.weights + self.bias

    def predict(self, x: Any) -> np.ndarray:
        """Classes 0 or 1 (a score of exactly 0 is class 0); for squared loss the score itself."""
        score = self.decision(x)
        return score if self.loss == "squared" else (score > 0).astype(np.int32)


def fit(
    x: Any,
    y: Any,
    support: Any = None,
    loss: str = "logistic",
    *,
    gamma: float | int = 1.0,
    balanced: bool = True,
    intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
) -> Probe:
    r"""$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$ on a support S.

    Newton for logistic loss, an interior point for hinge, a closed form for squared
    ($\frac{1}{2n}(\lVert y - Xw - b \rVert^2 + \lVert w \rVert^2 / \gamma)$); with more features than
    examples in the span of the examples, where the optimum lies. Gamma is the C of other libraries.

    **Arguments:** `x (n, d)`; `y (n,)` as in `best_subset`; `support`: columns, a mask, or None for
    all. `gamma`: the inverse ridge. `balanced`: both classes weigh n/2. `tol`: the relative duality
    gap that counts as converged.

    **Returns:** `Probe`, whose `.gap` is measured, not assumed.

    **Raises:** as `best_subset`.

    ```python
    probe = ji.probes.fit(x, y, support=[3, 14])
    probe.predict(x), probe.converged, probe.gap
    ```

    Law: weights and bias are those of scikit-learn with C = gamma and balanced classes.
    """
    problem = as_problem(x, y, loss, gamma, balanced, intercept)
    columns = as_support(support, problem.x.shape[1])
    found = solve_regression(problem, columns, tol, max_iter)
    return Probe(
        columns,
        found.weights,
        found.bias,
        found.value,
        found.bound,
        found.gap,
        found.converged,
        found.iterations,
        loss,
        problem.gamma,
        problem.x.shape[1],
    )
