"""The logistic loss with an L1 norm and a ridge: proximal Newton in float64, with a certificate.

For a support of up to some hundreds of columns. `_lasso.py` solves the L1 norm alone for thousands of
columns, without a certificate.
"""

from typing import NamedTuple

import numpy as np

from ._margins import entropy, level_classes, logistic_loss, sigmoid


class ElasticNetFit(NamedTuple):
    """Weights `(k,)`, bias, the objective, its proven bound, and the steps of the solver."""

    weights: np.ndarray
    bias: float
    value: float
    bound: float
    iterations: int


class ElasticNet:
    """Data `z (n, k)`, signs, weights of examples (gamma in them) and the share r of the L1 norm."""

    def __init__(self, z: np.ndarray, y: np.ndarray, weight: np.ndarray, r: float) -> None:
        self.z, self.y, self.weight, self.r = z, y, weight, r

    def penalty(self, w: np.ndarray) -> float:
        return float((1 - self.r) / 2 * (w @ w) + self.r * np.abs(w).sum())

    def value(self, w: np.ndarray, m: np.ndarray) -> float:
        return self.penalty(w) + float(self.weight @ logistic_loss(self.y * m))

    def bound(self, m: np.ndarray) -> float:
        """The dual at the margins' own point, made feasible: what no weights can fall below."""
        u = sigmoid(-self.y * m)
        u = level_classes(self.y, self.weight * u) / self.weight
        pull = np.abs((self.weight * u * self.y) @ self.z)
        if self.r == 1 and pull.max() > 1:
            # Without a ridge the dual has walls; shrinking meets them.
            u, pull = u / pull.max(), pull / pull.max()
        over = np.maximum(pull - self.r, 0)
        rest = float(over @ over) / (2 * (1 - self.r)) if self.r < 1 else 0.0
        return entropy(u, self.weight) - rest

    def solve(self, tol: float, max_iter: int) -> ElasticNetFit:
        """The optimum to a relative gap `tol`, in at most `max_iter` steps of Newton."""
        n, k = self.z.shape
        w = np.zeros(k)
        high = self.weight[self.y > 0].sum()
        b = float(np.log(high / (self.weight.sum() - high)))
        m = np.full(n, b)
        value, bound, turn = self.value(w, m), -np.inf, 0
        while True:
            bound = max(bound, self.bound(m))
            if value - bound <= tol * max(abs(value), 1e-12) or turn >= max_iter:
                return ElasticNetFit(w, b, value, max(bound, 0.0), turn)
            turn += 1
            u = sigmoid(-self.y * m)
            push = self.weight * u * self.y
            curve = self.weight * u * (1 - u)
            # The bias is eliminated: it is at the optimum of the quadratic for any weights.
            total = max(float(curve.sum()), 1e-300)
            mean = (curve @ self.z) / total
            shift = float(push.sum()) / total
            h = (self.z * curve[:, None]).T @ self.z - total * np.outer(mean, mean)
            h[np.diag_indices(k)] += (1 - self.r) + 1e-12 * max(float(np.trace(h)) / k, 1e-300)
            # A quadratic about w: its minimum with |w| is the next point to go to.
            c = push @ self.z - total * shift * mean + h @ w - (1 - self.r) * w
            new = signed_quadratic(h, c, self.r, w)
            step = new - w
            step_b = shift - float(mean @ step)
            move = self.z @ step + step_b
            slope = self.penalty(new) - self.penalty(w) - float(push @ move)
            t, trial, reached = 1.0, w, np.inf
            while t > 1e-10:
                trial = w + t * step
                reached = self.value(trial, m + t * move)
                if reached <= value + 1e-4 * t * slope:
                    break
                t /= 2
            if t <= 1e-10 or reached >= value:
                # Rounding is all that is left.
                return ElasticNetFit(w, b, value, max(bound, 0.0), turn)
            w, b = (new if t == 1 else trial), b + t * step_b
            # Margins anew: sums of steps would collect what rounding does to each.
            m = self.z @ w + b
            value = self.value(w, m)


def signed_quadratic(h: np.ndarray, c: np.ndarray, r: float, w: np.ndarray) -> np.ndarray:
    r"""$\arg\min_w \frac12 w^T H w - c \cdot w + r \lVert w \rVert_1$, begun at w, for H positive definite.

    A pass of coordinate descent finds signs; the minimum for these signs is one linear solve. Where
    it would change a sign, the way there ends at the first zero. Both lower the objective, and there
    are finitely many signs.
    """
    w, diagonal = w.copy(), np.diag(h).copy()
    for _ in range(20 + 4 * len(w)):
        gradient = h @ w - c
        for j in np.flatnonzero((w != 0) | (np.abs(gradient) > r)):
            old = w[j]
            pull = diagonal[j] * old - gradient[j]
            new = np.sign(pull) * max(abs(pull) - r, 0.0) / diagonal[j]
            if new != old:
                gradient += (new - old) * h[j]
                w[j] = new
        while (active := np.flatnonzero(w)).size:
            sign = np.sign(w[active])
            best = np.linalg.solve(h[np.ix_(active, active)], c[active] - r * sign)
            turned = best * sign <= 0
            if not turned.any():
                w[active] = best
                break
            here = w[active]
            share = np.where(turned, here / np.where(turned, here - best, 1), np.inf)
            first = int(np.argmin(share))
            w[active] = here + share[first] * (best - here)
            w[active[first]] = 0
        gradient = h @ w - c
        slack = 1e-10 * max(float(np.abs(c).max()), r)
        if not ((w == 0) & (np.abs(gradient) > r + slack)).any():
            break
    return w
