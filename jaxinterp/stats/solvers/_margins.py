r"""What a margin $m_i = y_i (w \cdot x_i + b)$ costs, its slope and its dual, in float64.

Each solver in float64 of the logistic loss takes these functions; `_newton.py` has them in float32.
"""

import numpy as np

Solved = tuple[np.ndarray, float, np.ndarray, int]
"""Weights `(r,)`, bias, dual point `(n,)` before repair, iterations."""


def logistic_loss(margin: np.ndarray) -> np.ndarray:
    r"""$\log(1 + e^{-m})$, without overflow."""
    return np.logaddexp(0, -margin)


def hinge_loss(margin: np.ndarray) -> np.ndarray:
    r"""$\max(0, 1 - m)$."""
    return np.maximum(0, 1 - margin)


def sigmoid(a: np.ndarray) -> np.ndarray:
    r"""$1 / (1 + e^{-a})$, without overflow and with full relative precision."""
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1.0) / (1 + e)


def entropy(u: np.ndarray, weight: np.ndarray) -> float:
    r"""$-\sum_i \omega_i (u_i \log u_i + (1 - u_i) \log(1 - u_i))$: the dual of the logistic loss at $u \in [0, 1]^n$."""
    inside = (u > 0) & (u < 1)
    v = u[inside]
    return float(-weight[inside] @ (v * np.log(v) + (1 - v) * np.log1p(-v)))


def level_classes(y: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """`beta (n,)` of 0 or more, with the class of the larger sum scaled down to the sum of the other.

    A dual point of a problem with a bias has $y \\cdot \\beta = 0$; scaling down stays inside its box.
    """
    up = y > 0
    high, low = beta[up].sum(), beta[~up].sum()
    least = min(high, low)
    return np.where(up, beta * (least / max(high, 1e-300)), beta * (least / max(low, 1e-300)))
