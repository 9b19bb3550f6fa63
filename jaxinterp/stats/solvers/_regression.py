"""One regression from arrays: data checked, wide data reduced, the gap of the result measured."""

import dataclasses

import numpy as np
import scipy

from ...typing import ArrayLike
from .._examples import as_examples, as_labels, as_real, check_loss, example_weights
from .._results import Result
from ._problem import Problem, solve


@dataclasses.dataclass(frozen=True, eq=False)
class Regression(Result):
    """A linear fit and what its solver reached; made by `regression`.

    - `weights (d,)`, `bias`: scores are `x @ weights + bias`.
    - `value`: the objective at these weights. `bound`: a lower bound from the dual; no weights have a lower value.
    - `gap`: `(value - bound) / value`. `converged`: whether the gap is within the tolerance.
    - `iterations` of the solver.

    ```python
    found = ji.stats.regression(x, y)
    found.weights, found.gap, found.decision(x)
    ```
    """

    weights: np.ndarray
    bias: float
    value: float
    bound: float
    gap: float
    converged: bool
    iterations: int

    def decision(self, x: ArrayLike) -> np.ndarray:
        """Scores `x @ weights + bias`, `(...)` for x `(..., d)`."""
        return np.asarray(np.asarray(x) @ self.weights + self.bias)


def regression(
    x: ArrayLike,
    y: ArrayLike,
    loss: str = "logistic",
    *,
    gamma: float | int = 1.0,
    weights: ArrayLike | None = None,
    balanced: bool = False,
    intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
) -> Regression:
    r"""$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_i + b) + \frac{1}{2\gamma} \lVert w \rVert^2$, with a proof of how close it is.

    The solver is Newton's method for the logistic loss, an interior point for the hinge loss, and a closed form for the
    squared loss ($\frac{1}{2n}(\lVert y - Xw - b \rVert^2 + \lVert w \rVert^2 / \gamma)$). It computes in float64.

    **Arguments:**

    - `x (n, d)`: examples. With more columns than examples the optimum lies in the span of the rows,
      and the search is there.
    - `y (n,)`: labels 0 and 1 (or -1 and 1, or bools); real targets for the squared loss.
    - `loss`: "logistic" (the default), "hinge" or "squared".
    - `gamma`: the inverse of the ridge; C in other libraries. Default 1.
    - `weights (n,)`: how much each example counts, positive. Default 1 each.
    - `balanced`: whether both classes weigh n/2. Default False.
    - `intercept`: whether there is a bias, which is not penalised. Default True.
    - `tol`: the relative duality gap that counts as converged. Default 1e-8.
    - `max_iter`: the largest number of iterations. Default 100.

    **Returns:** `Regression`.

    **Raises:** ValueError for one class only, lengths that differ, values that are not finite, another
    loss.

    ```python
    found = ji.stats.regression(x, y, gamma=10.0)
    found.weights, found.gap
    ```

    Law: weights and bias are those of scikit-learn with C = gamma.
    """
    problem = as_problem(x, y, loss, gamma, balanced, intercept, weights)
    return solve_regression(problem, np.arange(problem.x.shape[1]), tol, max_iter)


def as_problem(
    x: ArrayLike,
    y: ArrayLike,
    loss: str,
    gamma: float | int | None,
    balanced: bool,
    intercept: bool,
    weights: ArrayLike | None = None,
) -> Problem:
    r"""Checked data in the form that the solvers take.

    **Arguments:**

    - `x`: rows `(n, d)`.
    - `y`: labels 0 and 1, or numbers for the loss "squared", `(n,)`.
    - `loss`: "logistic", "hinge" or "squared".
    - `gamma`: inverse of the ridge; by default None, $n^{-1/2}$.
    - `balanced`: whether both classes have the same total weight.
    - `intercept`: whether there is a bias.
    - `weights`: weights of rows `(n,)`; by default None, all equal.
    """
    check_loss(loss)
    x = as_examples(x).astype(np.float64)
    n = len(x)
    signs = as_real(y, n) if loss == "squared" else as_labels(y, n)
    omega = example_weights(signs, balanced and loss != "squared", weights)
    inverse = n**-0.5 if gamma is None else float(gamma)
    if not (inverse > 0 and np.isfinite(inverse)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    return Problem(x, signs, omega, inverse, loss, intercept)


def solve_regression(problem: Problem, columns: np.ndarray, tol: float, max_iter: int) -> Regression:
    """The regression on chosen columns. `gap` is the gap of the full problem.

    **Arguments:**

    - `problem`: the data, the loss and the ridge.
    - `columns`: numbers of columns `(k,)`.
    - `tol`: relative gap at which the solver stops.
    - `max_iter`: largest number of iterations.
    """
    n = len(problem.x)
    z = problem.x[:, columns]
    back = None
    if len(columns) > n:
        # The optimum lies in the span of the rows: z = L Q with orthonormal rows Q, n unknowns.
        gram = z @ z.T
        gram[np.diag_indices(n)] += 1e-12 * max(float(np.trace(gram)) / n, 1e-300)
        factor = scipy.linalg.cholesky(gram, lower=True)
        back, z = factor, factor
    reduced = Problem(z, problem.y, problem.omega, problem.gamma, problem.loss, problem.intercept)
    inner = solve(reduced, np.arange(z.shape[1]), tol=float(tol) / 10, max_iter=max_iter)
    w = inner.w
    if back is not None:
        w = problem.x[:, columns].T @ scipy.linalg.solve_triangular(back, w, lower=True, trans=1)
    # Value and bound of the problem itself: what the reduction rounded off shows in the gap.
    value = problem.value(columns, w, inner.b)
    bound = problem.q(inner.alpha) - float(problem.h(inner.alpha, columns).sum())
    gap = (value - bound) / max(abs(value), 1e-12)
    return Regression(w, inner.b, value, bound, gap, bool(gap <= tol), inner.iterations)
