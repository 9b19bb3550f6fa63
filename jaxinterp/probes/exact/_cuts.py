r"""Cuts and what they prove: for any convex combination of dual points,
$c(S) \ge \bar q - \sum_{j \in S} \bar h_j$ with $\bar q = \sum_c \lambda_c q_c$, $\bar h = \sum_c \lambda_c h_c$.

The dual is concave, so that combinations of cuts are bounds too. HiGHS proposes the multipliers;
the bound is then computed here, in float64, from the multipliers themselves: no tolerance of a
linear-programming code enters a certificate.
"""

import time
from typing import Any

import numpy as np
import scipy

FEW = 64  # columns that enter the linear program at once


class Pool:
    """Cuts `q (c,)`, `h (c, d)`, the last used ones; cuts do not depend on k, and serve every k."""

    def __init__(self, d: int, most: int = 400) -> None:
        self.q = np.zeros(0)
        self.h = np.zeros((0, d))
        self.used = np.zeros(0, np.int64)
        self.likely = np.zeros(d, bool)
        self.most = most
        self.clock = 0

    def add(self, q: float, h: np.ndarray) -> None:
        self.clock += 1
        if len(self.q) >= self.most:
            last = np.sort(np.argsort(self.used, kind="stable")[self.most // 4 :])
            self.q, self.h, self.used = self.q[last], self.h[last], self.used[last]
        self.q = np.append(self.q, q)
        self.h = np.concatenate([self.h, h[None]])
        self.used = np.append(self.used, self.clock)

    def touch(self, cuts: np.ndarray) -> None:
        """Marks cuts that carried a bound."""
        self.clock += 1
        self.used[cuts] = self.clock

    def keep(self, columns: np.ndarray) -> None:
        """Forgets the columns that were proven out."""
        self.h = np.ascontiguousarray(self.h[:, columns])
        self.likely = self.likely[columns]


def largest(h: np.ndarray, k: int) -> Any:
    """Sum of the k largest entries along the last axis."""
    if k <= 0:
        return np.zeros(h.shape[:-1])
    if k >= h.shape[-1]:
        return h.sum(-1)
    return np.partition(h, h.shape[-1] - k, -1)[..., -k:].sum(-1)


def relax(
    q: np.ndarray, h: np.ndarray, k: int, scale: float, seconds: float, likely: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The linear program over cuts `q (c,)`, `h (c, f)`: shares `s (f,)` and multipliers `(c,)`.

    `min t, t >= q_c - h_c . s, sum s <= k, 0 <= s <= 1`; None where HiGHS gives up, or
    needs more than `seconds`. Among many columns, those `likely (f,)` to have a share are tried first, and
    the ones that the multipliers then ask for join them (and are marked), until none is missing.
    """
    free = h.shape[1]
    if free <= FEW:
        return _program(q, h, k, scale, seconds)
    deadline = time.monotonic() + seconds
    likely[np.argsort(-h.mean(0))[: 4 * k + 16]] = True
    found = None
    while True:
        active = np.flatnonzero(likely)
        found = _program(q, h[:, active], k, scale, deadline - time.monotonic()) or found
        if found is None:
            return None
        weights, mixture = found
        shares = np.zeros(free)
        shares[active[: len(weights)]] = weights
        mixed = mixture @ h
        kth = np.partition(mixed[active], -k)[-k] if len(active) > k else -np.inf
        missing = np.flatnonzero((mixed > kth * (1 + 1e-9)) & ~likely)
        if not len(missing) or time.monotonic() > deadline:
            return shares, mixture
        likely[missing[np.argsort(-mixed[missing])[:FEW]]] = True


def _program(
    q: np.ndarray, h: np.ndarray, k: int, scale: float, seconds: float
) -> tuple[np.ndarray, np.ndarray] | None:
    cuts, free = h.shape
    rows = np.concatenate([-np.ones((cuts, 1)), -h / scale], 1)
    rows = np.concatenate([rows, np.r_[0.0, np.ones(free)][None]])
    found = scipy.optimize.linprog(
        np.r_[1.0, np.zeros(free)],
        A_ub=rows,
        b_ub=np.r_[-q / scale, k],
        bounds=np.concatenate([[[-np.inf, np.inf]], np.tile([0.0, 1.0], (free, 1))]),
        method="highs",
        options={"time_limit": max(seconds, 1e-3)},
    )
    if found.status != 0:
        return None
    mixture = np.maximum(0, -found.ineqlin.marginals[:cuts])
    total = mixture.sum()
    if total <= 0:
        return None
    return np.clip(found.x[1:], 0, 1), mixture / total


def forced(q: float, h: np.ndarray, k: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Bounds of one (mixed) cut over k of the free columns: as it is, with each in, with each out.

    Forcing column j in leaves the k - 1 largest of the others; forcing it out the k largest of the
    others. A column whose bound `inside` reaches the incumbent is proven out.
    """
    if k >= len(h):
        return q - h.sum(), np.full(len(h), q - h.sum()), q - h.sum() + h
    order = np.partition(h, [len(h) - k - 1, len(h) - k])
    kth, after = order[-k], order[-k - 1]
    top = order[-k:].sum()
    chosen = h >= kth
    inside = np.where(chosen, q - top, q - (top - kth + h))
    outside = np.where(chosen, q - (top - h + after), q - top)
    return q - top, inside, outside
