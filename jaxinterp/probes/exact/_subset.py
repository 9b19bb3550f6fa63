"""The best k features, exactly, with a certificate."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...stats._examples import as_support, check_k
from ...stats.solvers import Problem, as_problem
from ._columns import Columns
from ._constraints import as_equal
from ._gram import Gram
from ._margin_losses import MarginLoss
from ._tree import ROUNDING, Search


@dataclass(frozen=True, eq=False)
class Subset:
    """A sparse probe with what was proven about it; made by `best_subset`.

    `support (k,)` columns of x, sorted; `weights (k,)` in their order; `bias`; `value` the objective
    at them; `bound`: no support of at most k columns has a value below it; `gap` (value - bound) /
    value (of a value below 1e-6 of that without columns, as in data free of noise, the difference is
    divided by that instead: float64 knows no more); `status` "optimal" where the gap is within the tolerance, else "time_limit"; `nodes` of the
    tree, `cuts` made, `screened`: columns that were proven out before any branching; `seconds`.
    """

    support: np.ndarray
    weights: np.ndarray
    bias: float
    value: float
    bound: float
    gap: float
    status: str
    nodes: int
    cuts: int
    screened: int
    seconds: float
    loss: str
    gamma: float
    features: int

    def decision(self, x: Any) -> np.ndarray:
        """Scores `x[..., support] @ weights + bias`, `(...,)` for x `(..., d)`."""
        x = np.asarray(x)
        if not x.ndim or x.shape[-1] != self.features:
            raise ValueError(
                f"This probe reads d={self.features} features, the last axis of x; got {x.shape}."
            )
        return x[..., self.support].astype(np.float64) @ self.weights + self.bias

    def predict(self, x: Any) -> np.ndarray:
        """Classes 0 or 1 (a score of exactly 0 is class 0); for squared loss the score itself."""
        score = self.decision(x)
        return score if self.loss == "squared" else (score > 0).astype(np.int32)

    def __repr__(self) -> str:
        return (
            f"Subset(support={self.support.tolist()}, value={self.value:.6g}, "
            f"bound={self.bound:.6g}, gap={self.gap:.1e}, status={self.status!r}, "
            f"nodes={self.nodes}, cuts={self.cuts}, screened={self.screened}, "
            f"seconds={self.seconds:.1f})"
        )


def best_subset(
    x: Any,
    y: Any,
    k: int = 3,
    loss: str = "logistic",
    time_limit: float | int = 60,
    *,
    gamma: float | int | None = None,
    balanced: bool = True,
    intercept: bool = True,
    tol: float = 1e-6,
    start: Any = None,
    equal: Any = None,
    screen: bool = True,
    inner_tol: float = 1e-10,
) -> Subset:
    r"""$\min_{|S| \le k}\, \min_{w, b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$, proven.

    Outer approximation over the dual, screening of columns, and branch and bound where cuts leave a
    gap; Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610) after Bertsimas et al. 2017
    (https://arxiv.org/abs/1710.01352). For `loss="squared"` the objective is
    $\frac{1}{2n} (\lVert y - Xw - b \rVert^2 + \lVert w \rVert^2 / \gamma)$, and `equal=(C, e)` adds
    the constraints $C w = e$.

    **Arguments:** `x (n, d)`, `y (n,)` in {0, 1} (or {-1, 1}, bools), real for squared loss. `loss`:
    "logistic", "hinge", "squared". `time_limit` in seconds, of which the best support found and the
    bound proven so far come back. `gamma`: the inverse ridge, $n^{-1/2}$ by default; the ridge is on
    weights of x as given, so divide features of very different spread by their deviation first, and
    know that a large gamma makes proofs long. `balanced`: both classes weigh n/2. `tol`: the relative
    gap that counts as optimal. `start`: a support, or several, to begin with. `equal`: for squared
    loss, C `(m, d)` and e `(m,)`; columns that are not chosen have weight zero in C w = e too.
    `screen=False` keeps every column (slower, same answer).

    **Returns:** `Subset`.

    **Raises:** ValueError for one class only, lengths that differ, values that are not finite, k
    beyond d or n, constraints that no support of k columns meets.

    ```python
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 100))
    y = x[:, 3] - x[:, 14] + 0.3 * rng.normal(size=500) > 0
    found = ji.probes.best_subset(x, y, k=2)
    found.support, found.gap, found.status
    ```

    Law: the value is that of brute force over all supports; the bound never exceeds it, whatever the
    time limit and the accuracy of inner solves; C w = e to 1e-8.
    """
    problem = as_problem(x, y, loss, gamma, balanced, intercept)
    searched = _searched(problem, *as_equal(equal, loss, problem.x.shape[1:]))
    limits = float(time_limit), float(tol), float(inner_tol)
    return _best(problem, searched, k, limits, start, screen, ())[0]


def best_subsets(
    x: Any,
    y: Any,
    ks: Iterable[int] = range(1, 9),
    loss: str = "logistic",
    time_limit: float | int = 60,
    *,
    gamma: float | int | None = None,
    balanced: bool = True,
    intercept: bool = True,
    tol: float = 1e-6,
    equal: Any = None,
    screen: bool = True,
) -> dict[int, Subset]:
    r"""`best_subset` for several k: $\{k: \arg\min_{|S| \le k} P(S)\}$, warm-started across k.

    From the largest k down: each begins with the largest weights of the one before and with its cuts,
    which hold for every k.

    **Arguments:** as `best_subset`; `time_limit` is per k.

    **Returns:** a dict from k to `Subset`, in the order of `ks`.

    ```python
    {k: found.value for k, found in ji.probes.best_subsets(x, y, [1, 2, 3]).items()}
    ```

    Law: the same values as `best_subset` for each k alone; they do not rise with k.
    """
    problem = as_problem(x, y, loss, gamma, balanced, intercept)
    n, d = problem.x.shape
    searched = _searched(problem, *as_equal(equal, loss, (d,)))
    order = [check_k(k, d, n) for k in ks]
    found: dict[int, Subset] = {}
    points: tuple[Any, ...] = ()
    before: Subset | None = None
    for k in sorted(set(order), reverse=True):
        start = None
        if before is not None:
            strength = np.abs(before.weights) * problem.x[:, before.support].std(0)
            start = before.support[np.argsort(-strength)[:k]]
        before, points = _best(
            problem, searched, k, (float(time_limit), float(tol), 1e-10), start, screen, points
        )
        found[k] = before
    return {k: found[k] for k in order}


def _searched(problem: Problem, c: np.ndarray, e: np.ndarray) -> MarginLoss | Gram:
    """The problem as the search sees it: for least squares, centred, by inner products."""
    if problem.loss != "squared":
        return MarginLoss(problem)
    x, y = problem.x, problem.y
    if problem.intercept:
        x, y = x - x.mean(0), y - y.mean()
    return Gram(Columns(x), y, problem.gamma, c, e)


def _best(
    problem: Problem,
    searched: MarginLoss | Gram,
    k: Any,
    limits: tuple[float, float, float],
    start: Any,
    screen: bool,
    points: tuple[Any, ...],
) -> tuple[Subset, tuple[Any, ...]]:
    n, d = problem.x.shape
    k = check_k(k, d, n)
    time_limit, tol, inner_tol = limits
    began = time.monotonic()
    search = Search(searched, k, tol, began + time_limit, screen, inner_tol, points)
    several = [] if start is None else [start] if np.ndim(start[0]) == 0 else list(start)
    supports = [as_support(support, d) for support in several]
    for support in supports:
        if len(support) > k:
            raise ValueError(f"start has {len(support)} columns, more than k={k}: start[:{k}].")
    search.start(supports)
    bound = max(0.0, search.run())
    if search.best is None:
        raise ValueError(
            f"No support of at most k={k} columns meets the constraints C w = e: this is proven. "
            "Allow more columns, or fewer constraints."
            if np.isinf(bound)
            else f"In {time_limit:g} s no support of at most k={k} columns was found that meets the "
            "constraints C w = e. Allow more columns, or more time: time_limit=."
        )
    support, w, b = np.array(search.support), search.best.w, search.best.b
    value = search.upper
    if isinstance(searched, Gram):
        # The search knew products alone; value and bias are those of the data.
        if problem.intercept:
            b = float(problem.y.mean() - problem.x[:, support].mean(0) @ w)
        value = problem.value(support, w, b)
        bound = min(bound, value)
    gap = (value - bound) / max(abs(value), ROUNDING * search.empty, 1e-300)
    result = Subset(
        support,
        w,
        b,
        value,
        bound,
        gap,
        "optimal" if gap <= tol else "time_limit",
        search.nodes,
        search.cuts,
        d - len(search.columns),
        time.monotonic() - began,
        problem.loss,
        problem.gamma,
        d,
    )
    return result, tuple(search.points)
