"""Several targets at once, with constraints across them: one block for each in a single regression."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import viz
from ..._tabular import Record, Tabular
from ...stats._examples import as_examples, as_real
from ...typing import ArrayLike
from ._constraints import ConstraintsLike, as_equal
from ._settings import SearchSettings
from ._subset import Subset, best_subset


@dataclass(frozen=True, eq=False)
class System(Tabular):
    """Sparse equations for several targets; made by `best_system`.

    - `weights (targets, d)`: the weights of all equations; 0 outside of the supports.
    - `value`, `bound`: sums over the searches. `gap`: the largest gap of a search.
    - `status`: "optimal" where each search is, else "time_limit". `seconds`: the time of all searches.
    - `parts`: the `Subset` of each search.

    ```python
    found = ji.probes.best_system(theta, velocity, k=(2, 3, 2))
    found.equations(terms), found.predict(theta).shape
    ```
    """

    weights: np.ndarray
    value: float
    bound: float
    gap: float
    status: str
    seconds: float
    parts: tuple[Subset, ...]

    def records(self) -> list[Record]:
        """A row for each term of each equation: target, column and weight, with what its search proved."""
        return [
            {"target": t, "column": int(j), "weight": float(row[j]), "gap": part.gap, "status": part.status}
            for t, (row, part) in enumerate(zip(self.weights, self.parts, strict=True))
            for j in np.flatnonzero(row)
        ]

    def figure(self, *, title: str = "Equations") -> viz.Figure:
        """A heat map of the weights, an equation a row."""
        return viz.heatmap(self.weights, axis_names=("target", "column"), value="weight", title=title)

    def predict(self, x: ArrayLike) -> np.ndarray:
        """`x @ weights.T`, `(n, targets)`."""
        return np.asarray(x, np.float64) @ self.weights.T

    def equations(self, terms: Sequence[str], digits: int = 3) -> list[str]:
        """Each target as text: "-10 x + 10 y".

        **Arguments:**

        - `terms`: the names of the columns of x.
        - `digits`: significant digits; 3 by default.
        """
        found = []
        for row in self.weights:
            parts = [f"{row[j]:.{digits}g} {terms[int(j)]}" for j in np.flatnonzero(row)]
            found.append(" + ".join(parts).replace("+ -", "- ") or "0")
        return found


def best_system(
    x: ArrayLike,
    y: ArrayLike,
    k: int | Sequence[int] | np.ndarray,
    time_limit: float | int = 60,
    *,
    equal: ConstraintsLike | None = None,
    gamma: float | int = 1e6,
    tol: float = 1e-6,
) -> System:
    r"""$\min_W \frac{1}{2n} (\lVert Y - X W^T \rVert^2 + \lVert W \rVert^2 / \gamma)$ with few terms in W and linear constraints.

    Exact sparse identification of dynamics, Bertsimas and Gurnee 2022
    (https://arxiv.org/abs/2206.00176): x has a library of terms, y the derivatives.

    **Arguments:**

    - `x (n, d)`: the terms of a library. No intercept is added: a library has its own constant term.
    - `y (n, targets)`: real targets.
    - `k`: the number of terms for each target, `(k_1, ...)`, or one number for all targets together.
    - `time_limit`: seconds for each search. Default 60.
    - `equal`: constraints (C, e) with C `(m, targets, d)`: $\sum_{tj} C_{itj} W_{tj} = e_i$. Constraints
      across targets need one number k for all. Default None.
    - `gamma`: the inverse ridge. Default 1e6.
    - `tol`: the relative gap that counts as optimal. Default 1e-6.

    **Returns:** `System`.

    **Raises:** as `best_subset`; ValueError for constraints across targets with a k for each.

    ```python
    found = ji.probes.best_system(theta, velocity, k=(2, 3, 2))
    found.equations(terms), found.gap
    ```

    Law: each equation is the result of `best_subset`; constraints hold to 1e-8.
    """
    x = as_examples(x).astype(np.float64)
    n, d = x.shape
    y = np.asarray(y)
    if y.ndim != 2 or y.shape[0] != n or not y.shape[1]:
        raise ValueError(f"y has the axes (n, targets), with n={n} rows as x; got {y.shape}.")
    targets = y.shape[1]
    y = np.stack([as_real(column, n) for column in y.T], 1)
    c, e = as_equal(equal, "squared", (targets, d))
    options: dict[str, Any] = {"gamma": gamma, "settings": SearchSettings(tol=tol), "intercept": False}
    weights = np.zeros((targets, d))
    if np.ndim(k):
        ks = [int(each) for each in np.asarray(k)]
        if len(ks) != targets:
            raise ValueError(f"k has one number per target, {targets} of them; got {ks}.")
        touched = np.abs(c).reshape(-1, targets, d).max(2) > 0
        if (touched.sum(1) > 1).any():
            raise ValueError(
                "A constraint ties several targets, which are then searched together: give one number "
                f"of terms for all of them, k={sum(ks)}."
            )
        parts = []
        for i in range(targets):
            own = c.reshape(-1, targets, d)[touched[:, i], i], e[touched[:, i]]
            part = best_subset(x, y[:, i], ks[i], "squared", time_limit, equal=own, **options)
            weights[i, part.support] = part.weights
            parts.append(part)
        scale = 1.0
    else:
        # Block by block on the diagonal: the objective divides by targets * n, and so does the ridge.
        stacked = np.kron(np.eye(targets), x)
        part = best_subset(
            stacked, y.T.reshape(-1), int(np.asarray(k)), "squared", time_limit, equal=(c, e), **options
        )
        weights.reshape(-1)[part.support] = part.weights
        parts, scale = [part], float(targets)
    value, bound = (scale * sum(getattr(part, what) for part in parts) for what in ("value", "bound"))
    done = all(part.status == "optimal" for part in parts)
    gap = max(part.gap for part in parts)
    return System(
        weights,
        value,
        bound,
        gap,
        "optimal" if done else "time_limit",
        sum(part.seconds for part in parts),
        tuple(parts),
    )
