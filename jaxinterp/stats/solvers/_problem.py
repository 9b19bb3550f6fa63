r"""One probe on given columns, solved to a certificate:
$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_i + b) + \frac{1}{2\gamma} \lVert w \rVert^2$.

For an indicator $s \in [0,1]^d$ of the columns the same value is the maximum of the dual

$$ D(\alpha, s) = q(\alpha) - \sum_j s_j h_j(\alpha), \qquad h_j = c\,(x_j^T \alpha)^2, $$

over $\sum_i \alpha_i = 0$ and a box, with $c = \gamma/2$ ($\gamma/2n$ for squared loss). The map
$s \mapsto D(\alpha, s)$ is affine, and below the value for EVERY feasible alpha: an inner solve that
stopped early yields a weaker cut, never a wrong one. `repair` makes any alpha feasible exactly.

Everything is NumPy in float64: certificates are differences of nearly equal numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._hinge import hinge
from ._least_squares import squared
from ._logistic import logistic
from ._margins import entropy, hinge_loss, level_classes, logistic_loss


@dataclass(frozen=True)
class Problem:
    """Data of a probe: `x (n, d)`, signs or targets `y (n,)`, weights `omega (n,)`."""

    x: np.ndarray
    y: np.ndarray
    omega: np.ndarray
    gamma: float
    loss: str
    intercept: bool = True

    @property
    def scale(self) -> float:
        """The factor c of $h_j = c (x_j^T \\alpha)^2$."""
        return self.gamma / (2 * len(self.y) if self.loss == "squared" else 2)

    def value(self, columns: np.ndarray, w: np.ndarray, b: float) -> float:
        """The primal objective, an upper bound on the optimum of any support with these columns.

        **Arguments:**

        - `columns`: numbers of columns `(k,)`.
        - `w`: their weights `(k,)`.
        - `b`: the bias.
        """
        m = self.x[:, columns] @ w + b
        if self.loss == "squared":
            return float(np.sum((self.y - m) ** 2) + w @ w / self.gamma) / (2 * len(m))
        margin = self.y * m
        each = hinge_loss(margin) if self.loss == "hinge" else logistic_loss(margin)
        return float(self.omega @ each + w @ w / (2 * self.gamma))

    def q(self, alpha: np.ndarray) -> float:
        """The part of the dual that no column enters."""
        if self.loss == "squared":
            return float(alpha @ self.y - alpha @ alpha / 2) / len(alpha)
        u = -self.y * alpha / self.omega
        if self.loss == "hinge":
            return float(self.omega @ u)
        return entropy(np.clip(u, 0, 1), self.omega)

    def h(self, alpha: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """How much each column could lower the value, `(d,)`: one product with the data."""
        x = self.x if columns is None else self.x[:, columns]
        return self.scale * (alpha @ x) ** 2

    def repair(self, alpha: np.ndarray) -> np.ndarray:
        """The alpha made dual feasible: into the box, and of sum zero where there is a bias."""
        if self.loss == "squared":
            return alpha - alpha.mean() if self.intercept else alpha
        beta = np.clip(-self.y * alpha, 0, self.omega)
        if self.intercept:
            beta = level_classes(self.y, beta)
        return -self.y * beta


@dataclass(frozen=True)
class Solution:
    """A solved problem: primal `w` (of the columns), `b`, `value`; dual `alpha`, `bound`; its cut's `h`."""

    w: np.ndarray
    b: float
    value: float
    alpha: Any
    q: float
    bound: float
    iterations: int
    h: np.ndarray | None = None

    @property
    def gap(self) -> float:
        """Relative distance of the value from its bound: 0 at the optimum."""
        return (self.value - self.bound) / max(abs(self.value), 1e-12)


def solve(
    problem: Problem,
    columns: np.ndarray,
    s: np.ndarray | None = None,
    *,
    tol: float = 1e-10,
    max_iter: int = 100,
) -> Solution:
    """The solution on chosen columns, each with a share `s` of the ridge.

    A share scales the column by its root: $w_j^2 / s_j$ is what the perspective of the penalty is.
    `value` is that of the shared problem, which for shares below 1 is a bound, not a probe.

    **Arguments:**

    - `problem`: the data, the loss and the ridge.
    - `columns`: numbers of columns `(k,)`.
    - `s`: the share of each column in the ridge `(k,)`, above 0 and at most 1; by default None, all 1.
    - `tol`: relative gap at which the solver stops; 1e-10 by default.
    - `max_iter`: largest number of iterations; 100 by default.
    """
    root = np.ones(len(columns)) if s is None else np.sqrt(s)
    z = problem.x[:, columns] * root
    solver = {"logistic": logistic, "hinge": hinge, "squared": squared}[problem.loss]
    v, b, alpha, iterations = solver(
        z, problem.y, problem.omega, problem.gamma, problem.intercept, tol, max_iter
    )
    alpha = problem.repair(alpha)
    q = problem.q(alpha)
    bound = q - problem.scale * float(np.sum((alpha @ z) ** 2))
    shared = Problem(z, problem.y, problem.omega, problem.gamma, problem.loss, problem.intercept)
    value = shared.value(np.arange(len(columns)), v, b)
    return Solution(v * root, b, value, alpha, q, bound, iterations)
