"""One probe on given features, to convergence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from ...stats._examples import as_support, check_loss
from ..exact._problem import Problem, solve
from ..exact._subset import _problem


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
    check_loss(loss)
    problem = _problem(x, y, loss, gamma, balanced, intercept)
    n, d = problem.x.shape
    columns = as_support(support, d)
    z = problem.x[:, columns]
    back = None
    if len(columns) > n:
        # The optimum lies in the span of the rows: z = L Q with orthonormal rows Q, n unknowns.
        gram = z @ z.T
        gram[np.diag_indices(n)] += 1e-12 * max(float(np.trace(gram)) / n, 1e-300)
        factor = scipy.linalg.cholesky(gram, lower=True)
        back, z = factor, factor
    reduced = Problem(z, problem.y, problem.omega, problem.gamma, loss, intercept)
    inner = solve(reduced, np.arange(z.shape[1]), tol=float(tol) / 10, max_iter=max_iter)
    w = inner.w
    if back is not None:
        w = problem.x[:, columns].T @ scipy.linalg.solve_triangular(back, w, lower=True, trans=1)
    # Value and bound of the problem itself: what the reduction rounded off shows in the gap.
    value = problem.value(columns, w, inner.b)
    bound = problem.q(inner.alpha) - float(problem.h(inner.alpha, columns).sum())
    gap = (value - bound) / max(abs(value), 1e-12)
    return Probe(
        columns,
        w,
        inner.b,
        value,
        bound,
        gap,
        bool(gap <= tol),
        inner.iterations,
        loss,
        problem.gamma,
        d,
    )
