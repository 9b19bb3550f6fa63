"""Solvers of one dense problem `z (n, r)`: Newton, an interior point, a closed form.

Each returns `(v, b, alpha, iterations)`: primal weights, bias, and the dual point before repair.
Costs are $n r^2$ per iteration; the caller reduces wide data first.
"""

from typing import Any

import numpy as np
import scipy

Solved = tuple[np.ndarray, float, np.ndarray, int]


def logistic(
    z: np.ndarray,
    y: np.ndarray,
    omega: np.ndarray,
    gamma: float,
    intercept: bool,
    tol: float,
    max_iter: int,
) -> Solved:
    r"""Newton with backtracking; $\alpha_i = -\omega_i y_i \sigma(-y_i m_i)$."""
    n, r = z.shape
    design = np.concatenate([z, np.ones((n, 1))], 1) if intercept else z
    ridge = np.full(design.shape[1], 1 / gamma)
    ridge[r:] = 0
    theta = np.zeros(design.shape[1])

    def objective(m: np.ndarray, theta: np.ndarray) -> float:
        return float(omega @ np.logaddexp(0, -y * m) + ridge @ theta**2 / 2)

    m = np.zeros(n)
    value = objective(m, theta)
    alpha = -omega * y / 2
    iterations = 0
    while iterations < max_iter:
        iterations += 1
        p = 0.5 * (1 - np.tanh(y * m / 2))
        alpha = -omega * y * p
        grad = alpha @ design + ridge * theta
        curve = (design.T * (omega * p * (1 - p))) @ design
        # The bias has no ridge: a trace of one keeps the matrix regular when all is decided.
        curve[np.diag_indices_from(curve)] += ridge + 1e-12 * (1 + np.diag(curve))
        step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(curve), grad) if len(grad) else grad
        decrease = float(grad @ step)
        if decrease <= tol * max(abs(value), 1e-300):
            break
        along, size = design @ step, 1.0
        while size > 1e-10:
            trial = objective(m - size * along, theta - size * step)
            if trial <= value - 1e-4 * size * decrease:
                break
            size /= 2
        else:
            break
        theta, m, value = theta - size * step, m - size * along, trial
    # One more gradient at the last point: the dual point belongs to the weights returned.
    alpha = -omega * y * 0.5 * (1 - np.tanh(y * m / 2))
    return theta[:r], float(theta[r]) if intercept else 0.0, alpha, iterations


def hinge(
    z: np.ndarray,
    y: np.ndarray,
    omega: np.ndarray,
    gamma: float,
    intercept: bool,
    tol: float,
    max_iter: int,
) -> Solved:
    r"""Mehrotra's interior point on the dual, $0 \le \beta \le \omega$, $y \cdot \beta = 0$.

    The quadratic form has rank r, so that a step costs one r x r factorisation. The bias is the
    exact minimiser for the final weights.
    """
    n = len(z)
    signed = z * y[:, None]
    beta, room = omega / 2, omega / 2
    lower = np.ones(n)
    upper = np.ones(n)
    b = 0.0
    iterations = 0
    w = gamma * (beta @ signed)
    while iterations < max_iter:
        iterations += 1
        w = gamma * (beta @ signed)
        margin = signed @ w
        dual_residual = margin - 1 + y * b - lower + upper
        sum_residual = float(y @ beta) if intercept else 0.0
        mu = float(lower @ beta + upper @ room) / (2 * n)
        bias = hinge_bias(margin * y, y, omega) if intercept else 0.0
        primal = float(omega @ np.maximum(0, 1 - margin - y * bias) + w @ w / (2 * gamma))
        dual = float(beta.sum() - w @ w / (2 * gamma))
        if abs(primal - dual) <= tol * max(primal, 1e-12) and abs(sum_residual) <= tol * n:
            break
        if mu <= 1e-15:  # rounding from here on; what is left undone shows in the gap
            break
        system = _System(signed, y, lower / beta + upper / room, gamma, intercept)
        point = beta, room, lower, upper

        def steps(
            low: Any, high: Any, point: Any = point, system: Any = system, r_d: Any = dual_residual,
            r_p: float = sum_residual,
        ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:  # fmt: skip
            # `low`, `high`: what lower*beta and upper*room should become.
            beta, room, lower, upper = point
            step, shift = system.solve(-r_d + low / beta - lower - high / room + upper, r_p)
            d_lower = low / beta - lower - lower / beta * step
            d_upper = high / room - upper + upper / room * step
            return step, -step, d_lower, d_upper, shift

        *moves, _ = steps(0.0, 0.0)
        size = _longest(point, moves)
        goal = [value + size * move for value, move in zip(point, moves, strict=True)]
        centre = (float(goal[2] @ goal[0] + goal[3] @ goal[1]) / (2 * n) / mu) ** 3 * mu
        *moves, shift = steps(centre - moves[0] * moves[2], centre - moves[1] * moves[3])
        size = 0.995 * _longest(point, moves)
        step, _, d_lower, d_upper = moves
        beta = np.maximum(beta + size * step, 1e-250)
        room = np.maximum(room - size * step, 1e-250)
        lower = lower + size * d_lower
        upper = upper + size * d_upper
        b += size * shift
        if size < 1e-12:
            break
    bias = hinge_bias(z @ w, y, omega) if intercept else 0.0
    return w, bias, -y * beta, iterations


class _System:
    """`(D + gamma V V^T) step + y shift = right`, `y . step = -residual`, by the rank of V."""

    def __init__(
        self, v: np.ndarray, y: np.ndarray, diagonal: np.ndarray, gamma: float, intercept: bool
    ) -> None:
        self.y, self.diagonal, self.intercept = y, diagonal, intercept
        self.scaled = v / diagonal[:, None]
        rank = v.shape[1]
        self.factor = (
            scipy.linalg.cho_factor(np.eye(rank) / gamma + v.T @ self.scaled) if rank else None
        )
        self.sums = self.apply(y)

    def apply(self, right: np.ndarray) -> np.ndarray:
        out = right / self.diagonal
        if self.factor is None:
            return out
        return out - self.scaled @ scipy.linalg.cho_solve(self.factor, self.scaled.T @ right)

    def solve(self, right: np.ndarray, residual: float) -> tuple[np.ndarray, float]:
        step = self.apply(right)
        if not self.intercept:
            return step, 0.0
        shift = float(self.y @ step + residual) / float(self.y @ self.sums)
        return step - shift * self.sums, shift


def _longest(values: Any, steps: Any) -> float:
    """The longest step at most 1 that keeps every value positive."""
    size = 1.0
    for value, step in zip(values, steps, strict=True):
        down = step < 0
        if down.any():
            size = min(size, float(np.min(-value[down] / step[down])))
    return size


def hinge_bias(f: np.ndarray, y: np.ndarray, omega: np.ndarray) -> float:
    r"""$\arg\min_b \sum_i \omega_i \max(0, 1 - y_i (f_i + b))$, exactly: a weighted quantile."""
    knots = y - f
    order = np.argsort(knots)
    rise = np.cumsum(omega[order])
    target = omega[y > 0].sum()
    first = int(np.searchsorted(rise, target * (1 - 1e-12)))
    # Where the slope is zero between two knots any point is a minimiser: the middle.
    flat = abs(rise[first] - target) <= 1e-9 * target and first + 1 < len(knots)
    left = knots[order[first]]
    return float((left + knots[order[first + 1]]) / 2 if flat else left)


def squared(
    z: np.ndarray,
    y: np.ndarray,
    omega: np.ndarray,
    gamma: float,
    intercept: bool,
    tol: float,
    max_iter: int,
) -> Solved:
    r"""Ridge regression, $v = (I/\gamma + Z^T Z)^{-1} Z^T y$ centred; alpha is the residual."""
    centre = z.mean(0) if intercept else np.zeros(z.shape[1])
    middle = float(y.mean()) if intercept else 0.0
    zc, yc = z - centre, y - middle
    if not z.shape[1]:
        return np.zeros(0), middle, yc, 1
    v = scipy.linalg.cho_solve(
        scipy.linalg.cho_factor(np.eye(z.shape[1]) / gamma + zc.T @ zc), yc @ zc
    )
    return v, middle - float(centre @ v), yc - zc @ v, 1
