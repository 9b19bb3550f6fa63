"""The search behind `best_subset`: cuts at the root, screening, then branch and bound.

A node is a set of columns that must be in and a set that still may be. Its bound is that of the best
mixture of cuts (`_cuts.py`); a column whose forced inclusion reaches the incumbent is dropped, one
whose exclusion does is put in. New cuts come from the probe at the relaxed shares, halfway to the
best shares so far, which keeps the shares from jumping. Where few supports are left, each is solved;
where few columns are left of a regression, the fit without each of them says which cannot be missing.
"""

import heapq
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...stats.solvers import Solution
from ._cuts import Pool, forced, largest, relax
from ._gram import Gram
from ._margin_losses import MarginLoss

Support = tuple[int, ...]
PER_NODE = 40  # cuts that enter one linear program
WIDEST = 64  # columns of a relaxed point that are solved for: the heaviest
NARROW = 256  # columns of a regression whose fits without each are taken at a node
ROUNDING = 1e-6  # of the value without columns: values below it are known to tol times it, not tol


@dataclass(order=True)
class Node:
    bound: float
    number: int
    inside: np.ndarray = field(compare=False)
    free: np.ndarray = field(compare=False)


class Search:
    """One search for the best k columns; `columns` maps the columns left to those of x."""

    def __init__(
        self,
        problem: MarginLoss | Gram,
        k: int,
        tol: float,
        deadline: float,
        screen: bool = True,
        inner_tol: float = 1e-10,
        points: tuple[Any, ...] = (),
    ) -> None:
        self.problem, self.k, self.tol, self.deadline = problem, k, tol, deadline
        self.screen, self.inner_tol = screen, inner_tol
        self.whole = d = problem.d
        self.columns = np.arange(d)
        self.pool = Pool(d)
        self.points: list[Any] = []
        self.best: Solution | None = None
        self.support: Support = ()
        self.upper = self.floor = np.inf
        self.solved: dict[Support, tuple[float, float]] = {}
        self.nodes = self.cuts = 0
        self.rough = 1e-3
        empty = self.cut(np.arange(0)).value
        self.empty = empty if np.isfinite(empty) or not isinstance(problem, Gram) else problem.unit
        for point, (q, h) in zip(points, problem.cuts(list(points)), strict=True):
            self.learn(point, q, h)

    @property
    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    @property
    def enough(self) -> float:
        """A bound from here on proves the incumbent, to the tolerance."""
        if self.best is None:
            return np.inf
        return self.upper - self.tol * max(abs(self.upper), ROUNDING * self.empty)

    def cut(self, columns: np.ndarray, s: np.ndarray | None = None) -> Solution:
        """Solves the probe on the columns (numbers among those left), keeps its cut and offers it."""
        # A relaxed point is there for its cut alone, which needs no more digits than the gap has.
        relaxed = s is not None and bool((s < 1).any())
        tol = max(self.inner_tol, self.rough) if relaxed else self.inner_tol
        inner = self.problem.solve(columns, s, tol=tol)
        assert inner.h is not None
        self.learn(inner.alpha, inner.q, inner.h)
        if not relaxed and 0 < len(columns) <= self.k:
            name = tuple(int(c) for c in self.columns[columns])
            self.solved[name] = inner.value, inner.bound
            if inner.value < self.upper:
                self.upper, self.best, self.support = inner.value, inner, name
        return inner

    def learn(self, point: Any, q: float, h: np.ndarray) -> None:
        """A cut from any dual feasible point."""
        self.cuts += 1
        if len(self.points) < 60 and len(self.columns) == self.whole:
            self.points.append(point)
        self.pool.add(q, h)

    def offer(self, columns: np.ndarray) -> tuple[float, float]:
        """Tries a support: its value, and the bound that its dual proves."""
        columns = np.sort(columns)
        name = tuple(int(c) for c in self.columns[columns])
        if name not in self.solved:
            self.cut(columns)
        return self.solved[name]

    def start(self, supports: list[np.ndarray]) -> None:
        """An incumbent: the given supports, and columns added one by one, then exchanged."""
        first = self.pool.h[0].copy()
        self.offer(np.argsort(-first, kind="stable")[: self.k])
        for support in supports:
            self.offer(support)
        chosen = np.arange(0)
        h = first
        while len(chosen) < self.k and not self.late:
            h[chosen] = -1
            chosen = np.sort(np.append(chosen, np.argmax(h)))
            self.cut(chosen)
            h = self.pool.h[-1].copy()
        for _ in range(2 * self.k):
            before, current = self.upper, np.array(self.support)
            for out in range(len(current)):
                if self.late:
                    return
                rest = np.delete(current, out)
                self.cut(rest)
                h = self.pool.h[-1].copy()
                h[current] = -1
                for new in np.argsort(-h, kind="stable")[: min(2, len(h) - len(current))]:
                    self.offer(np.append(rest, new))
            if self.upper >= before:
                return

    def work(self, node: Node, rounds: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, bool]:
        """Cuts at a node until it is proven or cuts stop helping.

        The bound, the columns that are in, those still free with their shares, and whether nothing
        is left to decide.
        """
        inside, free, bound = node.inside, node.free, node.bound
        shares = np.zeros(len(free))
        centre: np.ndarray | None = None
        lowest = np.inf
        gains: list[float] = []
        for turn in range(rounds + 1):
            left = self.k - len(inside)
            if turn == 0 and self.screen and 0 < left < len(free):
                bound, inside, free = self.needed(bound, inside, free)
                shares, left = np.zeros(len(free)), self.k - len(inside)
                if bound >= self.enough or left < 0:
                    return max(bound, self.upper) if left < 0 else bound, inside, free, shares, True
            if len(free) <= left or left == 0:
                full = inside if left == 0 else np.concatenate([inside, free])
                if len(full):
                    bound = max(bound, self.offer(full)[1])
                return bound, full, free[:0], shares[:0], True
            # At the root cuts may prove more for less; further down they have had their turn.
            supports = math.comb(len(free), left) * (8 if rounds > 8 else 1)
            if supports <= self.problem.at_once and not self.late:
                bound = max(bound, self.every(inside, free, left))
                return bound, inside, free[:0], shares[:0], True
            # Every cut alone, in one pass over the pool; then the best mixture.
            h = self.pool.h[:, free]
            q = self.pool.q - self.pool.h[:, inside].sum(1)
            alone = q - largest(h, left)
            chosen = np.unique(np.r_[np.argsort(-alone)[:PER_NODE], np.argsort(-self.pool.used)[:PER_NODE]])
            best = int(np.argmax(alone))
            one_q, one_h = float(q[best]), h[best]
            scale, seconds = min(self.upper, self.empty), self.deadline - time.monotonic()
            likely = self.pool.likely[free]
            found = relax(q[chosen], h[chosen], left, scale, seconds, likely)
            self.pool.likely[free] = likely
            if found is not None:
                shares, mixture = found
                self.pool.touch(chosen[mixture > 1e-9])
                mixed_q, mixed_h = float(mixture @ q[chosen]), mixture @ h[chosen]
                if mixed_q - largest(mixed_h, left) > alone[best]:
                    one_q, one_h = mixed_q, mixed_h
            now, with_it, without = forced(one_q, one_h, left)
            gains.append(max(0.0, now - bound))
            bound = max(bound, now)
            if bound >= self.enough:
                break
            if self.best is not None:
                open_gap = (self.upper - bound) / max(abs(self.upper), 1e-12)
                self.rough = float(min(1e-3, max(0.1 * self.tol, 0.01 * open_gap)))
            if self.screen:
                keep = with_it < self.upper
                into = keep & (without >= self.upper)
                if into.sum() > left:  # more must be in than may be: nothing better is here
                    return max(bound, self.upper), inside, free[:0], shares[:0], True
                inside = np.concatenate([inside, free[into]])
                free, shares = free[keep & ~into], shares[keep & ~into]
            slow = turn >= 3 and max(gains[-3:]) < 0.03 * (self.enough - bound)
            if self.late or turn == rounds or slow or found is None or not len(free):
                if len(free):
                    break
                continue
            # The probe at these shares: a cut, and a support to try.
            point = np.zeros(len(self.columns))
            point[free] = shares
            point[inside] = 1
            if centre is not None and not _integral(shares):
                point = 0.5 * (point + centre)
            point[point < 5e-3] = 0
            widest = max(WIDEST, 4 * self.k)
            if np.count_nonzero(point) > widest:
                point[np.argsort(-point, kind="stable")[widest:]] = 0
            support = np.flatnonzero(point)
            value = self.cut(support, point[support]).value
            if not _integral(point):
                self.offer(np.argsort(-point, kind="stable")[: self.k])
            if value < lowest:
                lowest, centre = value, point
        return bound, inside, free, shares, False

    def needed(
        self, bound: float, inside: np.ndarray, free: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The fit without each free column of few: what cannot be missing comes in."""
        columns = np.concatenate([inside, free])
        if len(columns) > NARROW or (found := self.problem.without(columns)) is None:
            return bound, inside, free
        whole, each = found
        each = each[len(inside) :]
        # All but `left` of the free columns are missing: the least of their bounds that must be met.
        out = len(columns) - self.k
        bound = max(bound, whole, float(np.partition(each, out - 1)[out - 1]))
        into = each >= self.upper
        return bound, np.concatenate([inside, free[into]]), free[~into]

    def every(self, inside: np.ndarray, free: np.ndarray, left: int) -> float:
        """The bound over all supports of a node, each solved."""
        options = {} if isinstance(self.problem, Gram) else {"tol": self.inner_tol, "enough": self.upper}
        lowest, best, value = self.problem.every(inside, free, left, **options)
        if best is not None and value < self.upper:
            self.offer(best)
        return lowest

    def shrink(self, alive: np.ndarray) -> None:
        """Forgets the columns that are proven out: data, cuts and all."""
        self.columns = self.columns[alive]
        self.problem = self.problem.keep(alive)
        self.pool.keep(alive)

    def run(self) -> float:
        """Searches until proven or late; the lower bound that holds on return."""
        d = len(self.columns)
        root = Node(0.0, 0, np.arange(0), np.arange(d))
        self.nodes = 1
        bound, inside, free, shares, done = self.work(root, rounds=100)
        if bound >= self.enough or done or self.late:
            return min(bound, self.upper)
        alive = np.sort(np.concatenate([inside, free]))
        if len(alive) < d:
            inside, free = np.searchsorted(alive, inside), np.searchsorted(alive, free)
            self.shrink(alive)
        heap: list[Node] = []
        self.branch(heap, bound, inside, free, shares)
        while heap and heap[0].bound < self.enough:
            if self.late:
                return min(self.floor, heap[0].bound, self.upper)
            node = heapq.heappop(heap)
            self.nodes += 1
            bound, inside, free, shares, done = self.work(node, rounds=8)
            if done or bound >= self.enough:
                self.floor = min(self.floor, bound)
            else:
                self.branch(heap, bound, inside, free, shares)
        return min(self.floor, heap[0].bound if heap else np.inf, self.upper)

    def branch(
        self,
        heap: list[Node],
        bound: float,
        inside: np.ndarray,
        free: np.ndarray,
        shares: np.ndarray,
    ) -> None:
        """Two nodes: with and without the column that is most undecided, the heavier in a tie."""
        weight = np.minimum(shares, 1 - shares)
        if weight.max() < 1e-6:
            weight = shares + 1e-3 * self.pool.h[-1][free] / self.empty
        at = int(np.argmax(weight))
        rest = np.delete(free, at)
        number = 2 * self.nodes
        heapq.heappush(heap, Node(bound, number, np.append(inside, free[at]), rest))
        heapq.heappush(heap, Node(bound, number + 1, inside, rest))


def _integral(shares: np.ndarray) -> bool:
    return bool(np.all(np.minimum(shares, 1 - shares) < 1e-9))
