r"""Least squares from inner products: after $X^T X$, no step of the search depends on n.

With weights w and multipliers $\nu$ of the constraints $C w = e$, the dual point is the residual
$\alpha = y - Xw$, and everything that a cut needs is an inner product:

$$ q = \frac{1}{2n} (y^T y - w^T G w + 2 \nu \cdot e), \qquad
   h_j = \frac{\gamma}{2n} (X_j^T y - (G w)_j + (C^T \nu)_j)^2. $$

Any w and any $\nu$ are feasible, so that a cut never depends on how well they were solved for.
Columns of G are made when they are first needed. What rounding could have done is taken off bounds
and added to values.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from ...stats.solvers import Solution
from ._columns import Columns
from ._support_batch import bordered, combinations

EPS = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Point:
    """A dual point: weights of some columns, and the multipliers of the constraints."""

    columns: np.ndarray
    w: np.ndarray
    nu: np.ndarray


class Gram:
    """A regression for the search: centred data, their products, constraints with rows of unit norm."""

    at_once = 100_000  # supports that `every` takes rather than a branch

    def __init__(self, x: Columns, y: np.ndarray, gamma: float, c: np.ndarray, e: np.ndarray) -> None:
        self.x, self.y, self.gamma, self.c, self.e = x, y, gamma, c, e
        n, d = x.x.shape
        self.n, self.d = n, d
        self.yy = float(y @ y)
        self.steep = 10 * self.yy
        self.r = x.products(y[None])[0]
        self.squares = np.einsum("ij,ij->j", x.x, x.x)
        self.norms = np.sqrt(self.squares)
        self.slot = np.full(d, -1)
        self.g = np.zeros((0, d))
        self.filled = 0
        if d <= 256:
            self.rows(np.arange(d))

    @property
    def unit(self) -> float:
        """The value without any column."""
        return self.yy / (2 * self.n)

    def rows(self, columns: np.ndarray) -> np.ndarray:
        """Rows of G, `(len(columns), d)`."""
        new = columns[self.slot[columns] < 0]
        if len(new):
            if self.filled + len(new) > len(self.g):
                room = np.empty((max(len(new), len(self.g)), self.d))
                self.g = np.concatenate([self.g, room])
            self.slot[new] = np.arange(self.filled, self.filled + len(new))
            self.g[self.slot[new]] = self.x.products(np.ascontiguousarray(self.x.x[:, new].T))
            self.filled += len(new)
        return self.g[self.slot[columns]]

    def keep(self, alive: np.ndarray) -> "Gram":
        """The same problem on some of the columns; products that were made stay made."""
        new = object.__new__(Gram)
        new.__dict__.update(self.__dict__)
        new.x, new.d, new.c = self.x.keep(alive), len(alive), self.c[:, alive]
        new.r, new.squares, new.norms = self.r[alive], self.squares[alive], self.norms[alive]
        made = np.flatnonzero(self.slot[alive] >= 0)
        new.g = np.ascontiguousarray(self.g[self.slot[alive[made]]][:, alive])
        new.slot = np.full(len(alive), -1)
        new.slot[made] = np.arange(len(made))
        new.filled = len(made)
        return new

    def cuts(self, points: list[Point]) -> list[tuple[float, np.ndarray]]:
        """`cut` of several points; their columns enter G together."""
        if points:
            self.rows(np.unique(np.concatenate([point.columns for point in points])))
        return [self.cut(point) for point in points]

    def cut(self, point: Point) -> tuple[float, np.ndarray]:
        """`q` and `h (d,)` of any point, each on the safe side of rounding."""
        rows = self.rows(point.columns)
        size = np.sqrt(self.yy) + float(np.abs(point.w) @ self.norms[point.columns])
        whole = point.w @ rows
        slack = self.r - whole + point.nu @ self.c
        h = self.gamma / (2 * self.n) * (np.abs(slack) + EPS * self.norms * size) ** 2
        q = self.yy - float(whole[point.columns] @ point.w) + 2 * float(point.nu @ self.e)
        return (q - EPS * size**2) / (2 * self.n), h

    def solve(self, columns: np.ndarray, s: np.ndarray | None = None, *, tol: float = 0.0) -> Solution:
        """The regression on some columns, each with its share; infinite where C w = e cannot be met."""
        root = np.ones(len(columns)) if s is None else np.sqrt(s)
        block = self.rows(columns)[:, columns] * root * root[:, None]
        v, nu, bound, value = (
            part[0]
            for part in self.settle(
                block[None],
                (root * self.r[columns])[None],
                (self.c[:, columns] * root)[None],
                (self.norms[columns] * root)[None],
            )
        )
        point = Point(columns, v * root, nu)
        q, h = self.cut(point)
        return Solution(point.w, 0.0, float(value), point, q, float(bound), 1, h)

    def settle(
        self, g: np.ndarray, r: np.ndarray, c: np.ndarray, norms: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """A batch of regressions `g (b, k, k)`: weights, multipliers, bound and value of each.

        The bound is the better of two: of the dual, and of the value less what the gradient that
        rounding left could still gain, which counts where the ridge is below rounding.
        """
        w, nu, met, spread = bordered(g, r, c, self.e, self.gamma, self.steep)
        size = np.sqrt(self.yy) + np.einsum("ij,ij->i", np.abs(w), norms)
        whole = np.einsum("ijk,ik->ij", g, w)
        slack = r - whole + np.einsum("im,imj->ij", nu, c)
        unsure = EPS * norms * size[:, None]
        inner = np.einsum("ij,ij->i", whole, w)
        dual = self.yy - inner + 2 * nu @ self.e
        dual = dual - self.gamma * ((np.abs(slack) + unsure) ** 2).sum(1)
        value = self.yy - 2 * np.einsum("ij,ij->i", r, w) + inner + (w**2).sum(1) / self.gamma
        gain = ((np.abs(slack - w / self.gamma) + unsure) * np.sqrt(2 * spread)).sum(1) ** 2
        missing = self.e - np.einsum("imk,ik->im", c, w)
        primal = value + 2 * (nu * missing).sum(1) - gain
        bound = (np.maximum(dual, primal) - EPS * size**2) / (2 * self.n)
        value = (value + EPS * size**2) / (2 * self.n)
        return w, nu, np.where(met, bound, np.inf), np.where(met, value, np.inf)

    def every(
        self, inside: np.ndarray, free: np.ndarray, left: int
    ) -> tuple[float, np.ndarray | None, float]:
        """All supports `inside` plus `left` of the free columns, each solved and bounded.

        The smallest bound, the support of the smallest value (None where none meets C w = e) and it.
        """
        block, across = None, self.rows(inside)
        if left > 1:  # else products among the free columns are never needed
            columns = np.concatenate([inside, free])
            block = self.rows(columns)[:, columns]
        lowest, best, least = np.inf, None, np.inf
        k = len(inside) + left
        for chosen in combinations(len(free), left, 1 + 4_000_000 // k**2):
            where = np.empty((len(chosen), k), int)
            where[:, : len(inside)] = np.arange(len(inside))
            where[:, len(inside) :] = len(inside) + chosen
            support = np.concatenate([inside, free])[where]
            if block is not None:
                g = block[where[:, :, None], where[:, None, :]]
            else:
                g = np.empty((len(chosen), k, k))
                g[:, :-1, :-1] = across[:, inside]
                g[:, :-1, -1] = g[:, -1, :-1] = across[:, support[:, -1]].T
                g[:, -1, -1] = self.squares[support[:, -1]]
            c = np.moveaxis(self.c[:, support], 0, 1)
            _, _, bound, value = self.settle(g, self.r[support], c, self.norms[support])
            lowest = min(lowest, float(bound.min()))
            at = int(np.argmin(value))
            if value[at] < least:
                least, best = float(value[at]), support[at]
        return lowest, best, least

    def without(self, columns: np.ndarray) -> tuple[float, np.ndarray]:
        """Bounds of the regression on all these columns, and on all but each of them.

        No support among the columns has a value below the first; none that leaves column j out has
        one below the j-th. Weak ridges, where cuts are poor, are where these are strong.
        """
        g = self.rows(columns)[:, columns]
        c = self.c[:, columns]
        w, nu, met, _ = bordered(g[None], self.r[columns][None], c[None], self.e, self.gamma, self.steep)
        if not met[0]:
            return np.inf, np.full(len(columns), np.inf)
        eye = np.eye(len(columns))
        scale = 1 / np.sqrt(1 / self.gamma + np.diag(g))
        inverse = (g + eye / self.gamma) * scale * scale[:, None] + 1e-14 * eye
        inverse = scipy.linalg.inv(inverse) * scale * scale[:, None]
        # Taking column j out moves the weights along column j of the inverse on C w = 0.
        along = inverse @ c.T
        middle = np.linalg.pinv(c @ along, rcond=1e-11, hermitian=True) @ along.T
        spread = np.diag(inverse) - np.einsum("jm,mj->j", along, middle)
        fixed = spread <= 1e-9 * np.diag(inverse)  # the constraints alone decide this weight
        size = np.where(fixed, 0, w[0] / np.where(fixed, 1, spread))
        moved = w[0][:, None] - (inverse - along @ middle) * size
        multipliers = nu[0][:, None] + middle * size
        out = np.flatnonzero(~fixed)
        moved[out, out] = 0
        moved = np.concatenate([w[0][:, None], moved], 1)
        multipliers = np.concatenate([nu[0][:, None], multipliers], 1)
        whole = g @ moved
        size = np.sqrt(self.yy) + self.norms[columns] @ np.abs(moved)
        slack = self.r[columns][:, None] + c.T @ multipliers - whole
        loss = (np.abs(slack) + EPS * np.outer(self.norms[columns], size)) ** 2
        loss[np.arange(len(g)), np.arange(len(g)) + 1] = 0
        bound = self.yy - np.einsum("ij,ij->j", whole, moved) + 2 * (self.e @ multipliers)
        bound = (bound - self.gamma * loss.sum(0) - EPS * size**2) / (2 * self.n)
        return float(bound[0]), np.maximum(bound[0], bound[1:])
