"""The hinge loss: an interior point on the dual, with a certificate."""

import numpy as np
import scipy

from ._margins import Solved


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
    # Rows: beta, its room below omega, and the multipliers of the two bounds; all stay positive.
    point = np.stack([omega / 2, omega / 2, np.ones(n), np.ones(n)])
    b = 0.0
    iterations = 0
    w = gamma * (point[0] @ signed)
    while iterations < max_iter:
        iterations += 1
        beta, room, lower, upper = point
        w = gamma * (beta @ signed)
        margin = signed @ w
        dual_residual = margin - 1 + y * b - lower + upper
        sum_residual = float(y @ beta) if intercept else 0.0
        slack = float(lower @ beta + upper @ room)
        mu = slack / (2 * n)
        ridge = float(w @ w) / (2 * gamma)
        dual = float(beta.sum()) - ridge
        # The slack is about the gap; the gap itself asks for the best bias, and so for a sort.
        if slack <= 10 * tol * abs(dual + slack) or mu <= 1e-13:
            bias = hinge_bias(margin * y, y, omega) if intercept else 0.0
            primal = float(omega @ np.maximum(0, 1 - margin - y * bias)) + ridge
            if abs(primal - dual) <= tol * max(primal, 1e-12) and abs(sum_residual) <= tol * n:
                break
        if mu <= 1e-15:  # rounding from here on; what is left undone shows in the gap
            break
        pull, push = lower / beta, upper / room
        system = LowRankSystem(signed, y, pull + push, gamma, intercept)
        if system.failed:  # as far as rounding lets it go
            break
        # Predictor: towards no slack at all. Corrector: as far as that went well.
        step, _ = system.solve(-dual_residual - lower + upper, sum_residual)
        moves = np.stack([step, -step, -lower - pull * step, -upper + push * step])
        goal = point + longest_step(point, moves) * moves
        centre = (float(goal[2] @ goal[0] + goal[3] @ goal[1]) / (2 * n) / mu) ** 3 * mu
        low = (centre - moves[0] * moves[2]) / beta - lower
        high = (centre - moves[1] * moves[3]) / room - upper
        step, shift = system.solve(-dual_residual + low - high, sum_residual)
        moves = np.stack([step, -step, low - pull * step, high + push * step])
        size = 0.995 * longest_step(point, moves)
        point = point + size * moves
        np.maximum(point[:2], 1e-250, out=point[:2])
        b += size * shift
        if size < 1e-12:
            break
    bias = hinge_bias(z @ w, y, omega) if intercept else 0.0
    return w, bias, -y * point[0], iterations


class LowRankSystem:
    """`(D + gamma V V^T) step + y shift = right`, `y . step = -residual`, by the rank of V."""

    def __init__(
        self, v: np.ndarray, y: np.ndarray, diagonal: np.ndarray, gamma: float, intercept: bool
    ) -> None:
        self.y, self.diagonal, self.intercept = y, diagonal, intercept
        self.scaled = v / diagonal[:, None]
        rank = v.shape[1]
        self.factor, self.failed = None, False
        if rank:
            # LAPACK itself: the checks around it cost more than these small systems.
            inner = np.eye(rank) / gamma + v.T @ self.scaled
            self.factor, self.failed = scipy.linalg.lapack.dpotrf(inner)
        self.sums = y if self.failed else self.apply(y)

    def apply(self, right: np.ndarray) -> np.ndarray:
        out = right / self.diagonal
        if self.factor is None:
            return out
        return out - self.scaled @ scipy.linalg.lapack.dpotrs(self.factor, right @ self.scaled)[0]

    def solve(self, right: np.ndarray, residual: float) -> tuple[np.ndarray, float]:
        step = self.apply(right)
        if not self.intercept:
            return step, 0.0
        shift = float(self.y @ step + residual) / float(self.y @ self.sums)
        return step - shift * self.sums, shift


def longest_step(point: np.ndarray, moves: np.ndarray) -> float:
    """The longest step at most 1 that keeps every value positive."""
    return 1 / max(1.0, float((-moves / point).max()))


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
