"""One probe on given features, to convergence."""

from dataclasses import dataclass

import numpy as np

from ..._tabular import Tabular
from ...stats._examples import as_support
from ...stats.solvers import as_problem, solve_regression
from ...typing import ArrayLike, IndexLike
from .._linear_scores import LinearScores


@dataclass(frozen=True, eq=False)
class Probe(Tabular, LinearScores):
    """A linear probe with a bound on its error; made by `ji.probes.fit`.

    - `support (k,)`: columns of x. `weights (k,)`, `bias`.
    - `value`: the objective. `bound`: a lower bound from the dual; no weights have a lower value.
    - `gap`: `(value - bound) / value`. `converged`: whether the gap is within the tolerance.
    - `iterations` of the solver; `loss`; `gamma`, the inverse ridge; `features`, the d of x.

    ```python
    probe = ji.probes.fit(x, y, support=[3, 14])
    probe.decision(x), probe.predict(x)
    ```
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


def fit(
    x: ArrayLike,
    y: ArrayLike,
    support: IndexLike | None = None,
    loss: str = "logistic",
    *,
    gamma: float | int = 1.0,
    balanced: bool = True,
    intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
) -> Probe:
    r"""$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$ on a support S.

    The solver is Newton's method for the logistic loss, an interior point for the hinge loss, and a closed form for
    the squared loss ($\frac{1}{2n}(\lVert y - Xw - b \rVert^2 + \lVert w \rVert^2 / \gamma)$). With more columns than
    examples it searches in the span of the examples, where the optimum lies. Gamma is the C of other libraries.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1 (or -1 and 1, or bools); real targets for the squared loss.
    - `support`: columns of x, or a mask `(d,)`. Default None: all columns.
    - `loss`: "logistic" (the default), "hinge" or "squared".
    - `gamma`: the inverse ridge. Default 1.
    - `balanced`: whether both classes weigh n/2. Default True.
    - `intercept`: whether there is a bias, which is not penalised. Default True.
    - `tol`: the relative duality gap that counts as converged. Default 1e-8.
    - `max_iter`: the largest number of iterations. Default 100.

    **Returns:** `Probe`; its `gap` is measured.

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
