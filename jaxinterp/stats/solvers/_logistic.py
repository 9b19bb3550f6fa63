"""The logistic loss with a ridge: Newton's method in float64, with a certificate.

This is the solver of one problem that needs a proof. Its sum over the examples of a full Hessian and its
dual point are what a proof needs; `_newton.py` solves many small problems in one program of float32.
"""

import numpy as np
import scipy

from ._margins import Solved, logistic_loss, sigmoid


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
        return float(omega @ logistic_loss(y * m) + ridge @ theta**2 / 2)

    m = np.zeros(n)
    value = objective(m, theta)
    alpha = -omega * y / 2
    iterations = 0
    while iterations < max_iter:
        iterations += 1
        p = sigmoid(-y * m)
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
    alpha = -omega * y * sigmoid(-y * m)
    return theta[:r], float(theta[r]) if intercept else 0.0, alpha, iterations
