"""The squared loss with a ridge, in closed form: for one penalty, and for every penalty of a list."""

import dataclasses

import numpy as np
import scipy

from ._margins import Solved


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
    v = scipy.linalg.cho_solve(scipy.linalg.cho_factor(np.eye(z.shape[1]) / gamma + zc.T @ zc), yc @ zc)
    return v, middle - float(centre @ v), yc - zc @ v, 1


@dataclasses.dataclass(frozen=True, eq=False)
class RidgePath:
    r"""Ridge regressions of one $X$ for any penalty, from one decomposition $X - \bar x = U S V^\top$.

    `squared` solves one penalty with as many unknowns as columns, where many small problems are solved
    one after the other. Here the decomposition costs more, and then each penalty, each target and each
    example that is left out costs next to nothing.

    - `mean (d,)` of the rows; `u (n, r)`, `s (r,)`, `vt (r, d)` with the r directions that vary.
    """

    mean: np.ndarray
    u: np.ndarray
    s: np.ndarray
    vt: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> "RidgePath":
        """The decomposition of x `(n, d)`. **Raises:** ValueError where no column varies."""
        mean = x.mean(0)
        u, s, vt = scipy.linalg.svd(x - mean, full_matrices=False, overwrite_a=True)
        # Directions in which nothing varies carry only rounding.
        varies = s > s[0] * max(x.shape) * np.finfo(np.float64).eps
        if not varies.any():
            raise ValueError("No feature of x changes between examples: there is nothing to read.")
        return cls(mean, u[:, varies], s[varies], vt[varies])

    def first(self, count: int) -> "RidgePath":
        """The same on the first `count` principal components."""
        return RidgePath(self.mean, self.u[:, :count], self.s[:count], self.vt[:count])

    def left_out(self, z: np.ndarray, lam: float) -> np.ndarray:
        r"""Errors $e_i / (1 - h_{ii})$ `(n, targets)` of the n fits that leave one example out.

        `z (n, targets)` have the mean 0.
        """
        share = self.s**2 / (self.s**2 + lam)
        # The mean is not penalised: it is 1/n of each leverage.
        leverage = 1 / len(z) + self.u**2 @ share
        return (z - self.u @ (share[:, None] * (self.u.T @ z))) / (1 - leverage)[:, None]

    def weights(self, z: np.ndarray, lam: float) -> np.ndarray:
        """Weights `(d, targets)` at a penalty, for targets `z (n, targets)` of the mean 0."""
        return self.vt.T @ ((self.s / (self.s**2 + lam))[:, None] * (self.u.T @ z))
