"""The elastic net: a logistic probe that drops features by itself, with its duality gap."""

from typing import Any

import numpy as np

from ...stats._examples import as_examples, as_labels, as_support
from ...stats._examples import example_weights as _example_weights
from ._fit import Probe


def elastic_net(
    x: Any,
    y: Any,
    support: Any = None,
    *,
    gamma: float | int = 1.0,
    l1_ratio: float | int = 0.5,
    balanced: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
) -> Probe:
    r"""$\min_{w,b} \frac{1-r}{2} \lVert w \rVert^2 + r \lVert w \rVert_1 + \gamma \sum_i \omega_i \log(1 + e^{-y_i (w \cdot x_i + b)})$.

    Zou & Hastie 2005 (https://doi.org/10.1111/j.1467-9868.2005.00503.x), in the form of the saga
    solver of scikit-learn: gamma is its C, and the bias is not penalised. Proximal Newton, each
    quadratic solved exactly by coordinate descent and a step on the signs that it settles on.

    **Arguments:** `x (n, d)`; `y (n,)` in {0, 1}; `support`: columns, a mask, or None for all.
    `gamma`: the inverse penalty. `l1_ratio` r, 0 (ridge, as `fit`) to 1 (lasso). `balanced`: both
    classes weigh n/2. `tol`: the relative duality gap that counts as converged; `max_iter` Newton
    steps.

    **Returns:** `Probe` on the columns given, many of whose weights are exactly 0; `value`, `bound`
    and `gap` are those of the objective above.

    **Raises:** as `best_subset`; ValueError for a ratio outside of 0..1.

    ```python
    probe = ji.probes.elastic_net(x, y, gamma=0.5, l1_ratio=0.9)
    probe.support[probe.weights != 0], probe.converged, probe.gap
    ```

    Law: weights and bias are those of scikit-learn's saga; with r = 0 those of `fit`.
    """
    if not (np.isfinite(gamma) and gamma > 0 and 0 <= l1_ratio <= 1):
        raise ValueError(
            "gamma is the inverse of the penalty, positive and finite, and l1_ratio is in 0..1; got "
            f"gamma={gamma}, l1_ratio={l1_ratio}."
        )
    x = as_examples(x)
    n, d = x.shape
    signs = as_labels(y, n)
    columns = as_support(support, d)
    weight = float(gamma) * _example_weights(signs, balanced)
    net = _Net(np.ascontiguousarray(x[:, columns], np.float64), signs, weight, float(l1_ratio))
    w, b, value, bound, turns = net.solve(float(tol), int(max_iter))
    gap = (value - bound) / max(abs(value), 1e-12)
    return Probe(columns, w, b, value, bound, gap, bool(gap <= tol), turns, "logistic", float(gamma), d)


class _Net:
    """Data `z (n, k)`, signs, weights of examples (gamma in them) and the share r of the L1 norm."""

    def __init__(self, z: np.ndarray, y: np.ndarray, weight: np.ndarray, r: float) -> None:
        self.z, self.y, self.weight, self.r = z, y, weight, r

    def penalty(self, w: np.ndarray) -> float:
        return float((1 - self.r) / 2 * (w @ w) + self.r * np.abs(w).sum())

    def value(self, w: np.ndarray, m: np.ndarray) -> float:
        return self.penalty(w) + float(self.weight @ np.logaddexp(0, -self.y * m))

    def bound(self, m: np.ndarray) -> float:
        """The dual at the margins' own point, made feasible: what no weights can fall below."""
        u = self._slope(self.y * m)
        beta = self.weight * u
        up = self.y > 0
        high, low = beta[up].sum(), beta[~up].sum()
        small = min(high, low)
        u = np.where(up, u * (small / max(high, 1e-300)), u * (small / max(low, 1e-300)))
        pull = np.abs((self.weight * u * self.y) @ self.z)
        if self.r == 1 and pull.max() > 1:
            # Without a ridge the dual has walls; shrinking meets them.
            u, pull = u / pull.max(), pull / pull.max()
        over = np.maximum(pull - self.r, 0)
        rest = float(over @ over) / (2 * (1 - self.r)) if self.r < 1 else 0.0
        inside = (u > 0) & (u < 1)
        v = u[inside]
        return float(-self.weight[inside] @ (v * np.log(v) + (1 - v) * np.log1p(-v))) - rest

    @staticmethod
    def _slope(margin: np.ndarray) -> np.ndarray:
        """sigma(-margin), without overflow."""
        e = np.exp(-np.abs(margin))
        return np.where(margin > 0, e, 1.0) / (1 + e)

    def solve(self, tol: float, max_iter: int) -> tuple[np.ndarray, float, float, float, int]:
        n, k = self.z.shape
        w = np.zeros(k)
        high = self.weight[self.y > 0].sum()
        b = float(np.log(high / (self.weight.sum() - high)))
        m = np.full(n, b)
        value, bound, turn = self.value(w, m), -np.inf, 0
        while True:
            bound = max(bound, self.bound(m))
            if value - bound <= tol * max(abs(value), 1e-12) or turn >= max_iter:
                return w, b, value, max(bound, 0.0), turn
            turn += 1
            u = self._slope(self.y * m)
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
            new = _quadratic(h, c, self.r, w)
            step = new - w
            step_b = shift - float(mean @ step)
            move = self.z @ step + step_b
            slope = self.penalty(new) - self.penalty(w) - float(push @ move)
            t = 1.0
            while t > 1e-10:
                trial = w + t * step
                reached = self.value(trial, m + t * move)
                if reached <= value + 1e-4 * t * slope:
                    break
                t /= 2
            if t <= 1e-10 or reached >= value:
                # Rounding is all that is left.
                return w, b, value, max(bound, 0.0), turn
            w, b = (new if t == 1 else trial), b + t * step_b
            # Margins anew: sums of steps would collect what rounding does to each.
            m = self.z @ w + b
            value = self.value(w, m)


def _quadratic(h: np.ndarray, c: np.ndarray, r: float, w: np.ndarray) -> np.ndarray:
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
