"""Logistic and hinge probes as the search sees them: solved from the data, one support at a time."""

import itertools

import numpy as np

from ...stats.solvers import Problem, Solution, solve
from ._columns import Columns


class MarginLoss:
    """A `Problem` for the search; one product with all columns per cut, batched where points are many."""

    at_once = 24  # supports that `every` solves rather than a branch

    def __init__(self, problem: Problem, columns: Columns | None = None) -> None:
        self.problem = problem
        self.x = Columns(problem.x) if columns is None else columns
        self.d = problem.x.shape[1]

    def cuts(self, points: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
        """`q` and `h (d,)` of dual points."""
        if not points:
            return []
        h = self.problem.scale * self.x.products(np.stack(points)) ** 2
        return [(self.problem.q(alpha), row) for alpha, row in zip(points, h, strict=True)]

    def solve(self, columns: np.ndarray, s: np.ndarray | None = None, *, tol: float) -> Solution:
        inner = solve(self.problem, columns, s, tol=tol)
        h = self.problem.scale * self.x.products(inner.alpha[None])[0] ** 2
        return Solution(inner.w, inner.b, inner.value, inner.alpha, inner.q, inner.bound, inner.iterations, h)

    def keep(self, alive: np.ndarray) -> "MarginLoss":
        """The same problem on some of the columns."""
        p, columns = self.problem, self.x.keep(alive)
        return MarginLoss(Problem(columns.x, p.y, p.omega, p.gamma, p.loss, p.intercept), columns)

    def every(
        self, inside: np.ndarray, free: np.ndarray, left: int, tol: float, enough: float
    ) -> tuple[float, np.ndarray | None, float]:
        """All supports `inside` plus `left` of the free columns: least bound, best support, its value."""
        lowest, best, least = np.inf, None, np.inf
        for chosen in itertools.combinations(free, left):
            support = np.sort(np.append(inside, np.array(chosen, int)))
            inner = solve(self.problem, support, tol=max(tol, 1e-2))
            if inner.bound < enough:  # no crude solve settles it
                inner = solve(self.problem, support, tol=tol)
            lowest = min(lowest, inner.bound)
            if inner.value < least:
                least, best = inner.value, support
        return lowest, best, least

    def without(self, columns: np.ndarray) -> None:
        """No closed form here; see `Gram.without`."""
