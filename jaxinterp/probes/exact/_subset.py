"""The best k features, exactly, with a certificate."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._deprecations import respelled
from ..._settings import takes_settings
from ..._tabular import Tabular
from ..._waiting import waiting
from ...stats._examples import as_support, check_k
from ...stats.solvers import Problem, as_problem
from ...typing import ArrayLike
from .._by_k import ByK
from .._linear_scores import LinearScores
from ._columns import Columns
from ._constraints import ConstraintsLike, as_equal
from ._gram import Gram
from ._margin_losses import MarginLoss
from ._settings import RESPELLED, SearchSettings
from ._tree import ROUNDING, Search


@dataclass(frozen=True, eq=False)
class Subset(Tabular, LinearScores):
    """A sparse probe with a certificate; made by `ji.probes.best_subset`.

    - `support (k,)`: columns of x, sorted. `weights (k,)` in the same order, and `bias`.
    - `value`: the objective. `bound`: no support of at most k columns has a lower value.
    - `gap`: `(value - bound) / value`. If the value is below 1e-6 of the value without columns, as in data
      without noise, the difference is divided by the value without columns, because float64 has no more digits.
    - `status`: "optimal" where the gap is within the tolerance, else "time_limit".
    - `nodes`: the size of the search tree; `cuts`: the number of cuts; `screened`: how many columns were proven to be in
      no optimal support before the search branched; `seconds`: the time of the search.
    - `loss`; `gamma`, the inverse ridge; `features`, the d of x.

    ```python
    found = ji.probes.best_subset(x, y, k=2)
    found.support, found.weights, found.status
    found.decision(x) > 0
    ```
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

    def __repr__(self) -> str:
        return (
            f"Subset(support={self.support.tolist()}, value={self.value:.6g}, "
            f"bound={self.bound:.6g}, gap={self.gap:.1e}, status={self.status!r}, nodes={self.nodes}, "
            f"cuts={self.cuts}, screened={self.screened}, seconds={self.seconds:.1f})"
        )


@respelled(**RESPELLED)
@takes_settings
@waiting("ji.probes.best_subset: compiling and running")
def best_subset(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 3,
    loss: str = "logistic",
    time_limit: float | int = 60,
    *,
    gamma: float | int | None = None,
    balanced: bool = True,
    intercept: bool = True,
    equal: ConstraintsLike | None = None,
    settings: SearchSettings = SearchSettings(),
) -> Subset:
    r"""$\min_{|S| \le k}\, \min_{w, b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$, with a proof.

    The method is outer approximation over the dual with screening of columns, followed by branch and bound where the
    cuts leave a gap: Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610) after Bertsimas et al. 2017
    (https://arxiv.org/abs/1710.01352). For `loss="squared"` the objective is
    $\frac{1}{2n} (\lVert y - Xw - b \rVert^2 + \lVert w \rVert^2 / \gamma)$, and `equal=(C, e)` adds
    the constraints $C w = e$.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1 (or -1 and 1, or bools); real targets for the squared loss.
    - `k`: the largest number of columns. Default 3.
    - `loss`: "logistic" (the default), "hinge" or "squared".
    - `time_limit`: seconds, after which the best support so far and the bound that is proven so far are
      returned. Default 60.
    - `gamma`: the inverse ridge, $n^{-1/2}$ by default. The ridge is on weights of x as it is given, so divide
      columns of very different spread by their deviation first. A large gamma makes proofs long.
    - `balanced`: whether both classes weigh n/2. Default True.
    - `intercept`: whether there is a bias, which is not penalised. Default True.
    - `equal`: constraints (C, e) with C `(m, d)` and e `(m,)`, for the squared loss. Columns that are not
      chosen have the weight 0 in C w = e too. Default None.
    - `settings`: `SearchSettings`: tolerances, a start, screening.

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
    return _best(problem, searched, k, float(time_limit), settings, ())[0]


@respelled(**RESPELLED)
@takes_settings
def best_subsets(
    x: ArrayLike,
    y: ArrayLike,
    ks: Iterable[int] = range(1, 9),
    loss: str = "logistic",
    time_limit: float | int = 60,
    *,
    gamma: float | int | None = None,
    balanced: bool = True,
    intercept: bool = True,
    equal: ConstraintsLike | None = None,
    settings: SearchSettings = SearchSettings(),
) -> ByK[Subset]:
    r"""`best_subset` for several k: $\{k: \arg\min_{|S| \le k} P(S)\}$, warm-started across k.

    The searches run from the largest k down. Each begins with the largest weights of the search before, and with its
    cuts, which hold for every k.

    **Arguments:** as `best_subset`.

    - `ks`: the numbers of columns. Default 1 to 8.
    - `time_limit`: seconds for each k. Default 60.

    **Returns:** `ByK`, a mapping from k to `Subset`, in the order of `ks`.

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
        own = settings
        if before is not None:
            strength = np.abs(before.weights) * problem.x[:, before.support].std(0)
            own = replace(settings, start=before.support[np.argsort(-strength)[:k]])
        before, points = _best(problem, searched, k, float(time_limit), own, points)
        found[k] = before
    return ByK({k: found[k] for k in order})


def _searched(problem: Problem, c: np.ndarray, e: np.ndarray) -> MarginLoss | Gram:
    """The problem as the search sees it: for least squares, centred, by inner products."""
    if problem.loss != "squared":
        return MarginLoss(problem)
    x, y = problem.x, problem.y
    if problem.intercept:
        x, y = x - x.mean(0), y - y.mean()
    return Gram(Columns(x), y, problem.gamma, c, e)


def _starts(start: Any) -> list[Any]:
    """The supports to begin with: none, one, or several."""
    if start is None or not len(start):
        return []
    return [start] if np.ndim(start[0]) == 0 else list(start)


def _best(
    problem: Problem,
    searched: MarginLoss | Gram,
    k: Any,
    time_limit: float,
    settings: SearchSettings,
    points: tuple[Any, ...],
) -> tuple[Subset, tuple[Any, ...]]:
    n, d = problem.x.shape
    k = check_k(k, d, n)
    began, tol = time.monotonic(), float(settings.tol)
    deadline = began + time_limit
    search = Search(searched, k, tol, deadline, settings.screen, float(settings.inner_tol), points)
    supports = [as_support(support, d) for support in _starts(settings.start)]
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
