"""Ridge for real targets, its penalty chosen by leaving out every example in turn, in closed form."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import viz
from ..._tabular import Record, Tabular
from ...stats._examples import as_examples
from ...stats.solvers import RidgePath
from ...typing import ArrayLike
from .._by_k import ByK

LAMBDAS = np.logspace(0.8, 4.1, 12)


@dataclasses.dataclass(frozen=True, eq=False)
class Ridge(Tabular):
    """A linear probe of real targets; made by `ridge`.

    - `weights (d, targets)`, `bias (targets,)`: without the last axis where y has none.
    - `lam`: the penalty that was chosen from `lambdas`.
    - `errors (lambdas,)`: the mean squared error of examples left out, in variances of the targets.
    - `left_out (n, targets)`: the prediction for each training example by the probe of all the others.
    - `components`: how many directions of the data were used.

    ```python
    probe = ji.probes.ridge(x, x[:, 3] + 0.1 * rng.normal(size=len(x)))
    probe.lam, probe.errors.min(), probe.at_edge
    ```
    """

    weights: np.ndarray
    bias: np.ndarray
    lam: float
    lambdas: np.ndarray
    errors: np.ndarray
    left_out: np.ndarray
    components: int

    def records(self) -> list[Record]:
        """A row for each penalty: its error on examples left out, and whether it was chosen."""
        pairs = zip(self.lambdas.tolist(), self.errors.tolist(), strict=True)
        return [{"lam": lam, "error": error, "chosen": lam == self.lam} for lam, error in pairs]

    def figure(self, *, title: str = "Error by penalty") -> viz.Figure:
        """The error on examples left out, by penalty; the chosen one is marked."""
        order = np.argsort(self.lambdas)
        curve, x = {"left out": self.errors[order]}, self.lambdas[order]
        marks = {"chosen": self.lam}
        return viz.lines(
            curve, x=x, marks=marks, log=bool(x[0] > 0), x_axis="penalty", y_axis="error", title=title
        )

    @property
    def at_edge(self) -> bool:
        """Whether the best penalty is the smallest or the largest offered: offer more."""
        return len(self.lambdas) > 1 and self.lam in (self.lambdas.min(), self.lambdas.max())

    def predict(self, x: ArrayLike) -> np.ndarray:
        """`x @ weights + bias`, `(..., targets)` for x `(..., d)`, in the units of y."""
        x = np.asarray(x)
        if not x.ndim or x.shape[-1] != len(self.weights):
            raise ValueError(
                f"This probe reads d={len(self.weights)} features, the last axis of x; got {x.shape}."
            )
        return np.asarray(x.astype(np.float64) @ self.weights + self.bias)

    def __repr__(self) -> str:
        targets = 1 if self.weights.ndim == 1 else self.weights.shape[1]
        return (
            f"Ridge(d={len(self.weights)}, targets={targets}, lam={self.lam:.4g}, "
            f"error left out={self.errors.min():.4g}, components={self.components})"
        )


def ridge(x: ArrayLike, y: ArrayLike, *, lambdas: ArrayLike | None = None) -> Ridge:
    r"""$\min_{W,b} \lVert Y - XW - b \rVert^2 + \lambda \lVert W \rVert^2$, $\lambda$ by leave-one-out error $e_i / (1 - h_{ii})$.

    One singular value decomposition gives the errors of all n probes that leave one example out, for
    every penalty. The probe of Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207). Everything
    is float64.

    **Arguments:**

    - `x (n, d)`: activations. The mean is subtracted inside; nothing is scaled.
    - `y (n,)` or `(n, targets)`: real targets. They are standardised inside, so that all targets count equally in the
      choice of the penalty.
    - `lambdas`: the penalties to choose from. Default: 12 from $10^{0.8}$ to $10^{4.1}$, those of the paper.
      `.at_edge` of the result says whether to offer more.

    **Returns:** `Ridge`, in the units of x and y.

    **Raises:** ValueError for fewer than three examples, lengths that differ, values that are not
    finite, penalties that are not positive, a target that never changes.

    ```python
    targets = np.stack([x[:, 3] + 0.1 * rng.normal(size=len(x)), x[:, 5]], 1)
    probe = ji.probes.ridge(x, targets, lambdas=np.logspace(-2, 4, 13))
    probe.predict(x), probe.lam, probe.errors
    ```

    Law: `left_out` holds the predictions of n separate fits, and the weights are those of scikit-learn.
    """
    x, y, lambdas = _checked(x, y, lambdas)
    return _chosen(RidgePath.of(x), y, lambdas)


def ridges(x: ArrayLike, ys: Iterable[Any], *, lambdas: ArrayLike | None = None) -> list[Ridge]:
    r"""`ridge` for several sets of targets, $Y_1, Y_2, \dots$, each with its own penalty.

    All sets share one decomposition, so controls with shuffled targets cost little.

    **Arguments:**

    - `x (n, d)`: activations.
    - `ys`: a list of targets, each `(n,)` or `(n, targets)`.
    - `lambdas`: as in `ridge`.

    **Returns:** a list of `Ridge`.

    **Raises:** as `ridge`.

    ```python
    target = x[:, 3] + 0.1 * rng.normal(size=len(x))
    probe, control = ji.probes.ridges(x, [target, rng.permutation(target)])
    probe.errors.min(), control.errors.min()
    ```

    Law: each is the result of `ridge` for these targets.
    """
    found, path = [], None
    for each in ys:
        examples, y, penalties = _checked(x, each, lambdas)
        path = RidgePath.of(examples) if path is None else path
        found.append(_chosen(path, y, penalties))
    return found


def pca_ridge(
    x: ArrayLike,
    y: ArrayLike,
    components: Iterable[int] = (2, 4, 6, 8, 10, 15, 20, 30, 40, 50, 75, 100),
    *,
    lambdas: ArrayLike | None = None,
) -> ByK[Ridge]:
    r"""`ridge` on the first q principal components, $X V_q$, for several q: how many directions a target needs.

    **Arguments:**

    - `x (n, d)`: activations.
    - `y (n,)` or `(n, targets)`: real targets.
    - `components`: the numbers q. Those beyond the rank of x are left out, and the rank is always added.
    - `lambdas`: as in `ridge`.

    **Returns:** `ByK`, a mapping from q, rising, to `Ridge`, whose weights are in the units of x.

    **Raises:** as `ridge`.

    ```python
    targets = np.stack([x[:, 3], x[:, 5]], 1)
    {q: probe.errors.min() for q, probe in ji.probes.pca_ridge(x, targets, [2, 10]).items()}
    ```

    Law: equal to a ridge on projected activations; one decomposition serves all q.
    """
    x, y, lambdas = _checked(x, y, lambdas)
    path = RidgePath.of(x)
    counts = [int(q) for q in components]
    if any(q < 1 for q in counts):
        raise ValueError(f"components are numbers of directions, 1 or more; got {counts}.")
    whole = len(path.s)
    kept = sorted({*(q for q in counts if q < whole), whole})
    return ByK({q: _chosen(path.first(q), y, lambdas) for q in kept})


def _chosen(path: RidgePath, y: np.ndarray, lambdas: np.ndarray) -> Ridge:
    """The regression at the penalty of the least error left out, in the units of y."""
    targets = y.reshape(len(y), -1)
    mean, spread = targets.mean(0), targets.std(0)
    z = (targets - mean) / spread
    residuals = [path.left_out(z, float(lam)) for lam in lambdas]
    errors = np.array([float((left**2).mean()) for left in residuals])
    best = int(np.argmin(errors))
    lam = float(lambdas[best])
    weights = path.weights(z, lam) * spread
    bias = mean - path.mean @ weights
    left_out = targets - residuals[best] * spread
    if y.ndim == 1:
        weights, bias, left_out = weights[:, 0], np.asarray(bias[0]), left_out[:, 0]
    return Ridge(weights, bias, lam, lambdas, errors, left_out, len(path.s))


def _checked(x: Any, y: Any, lambdas: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = as_examples(x).astype(np.float64)
    n = len(x)
    if n < 3:
        raise ValueError(f"Leaving one example out needs three or more; got x with n={n} rows.")
    y = as_targets(y, n)
    flat = np.flatnonzero(y.reshape(n, -1).std(0) == 0)
    if len(flat):
        raise ValueError(f"Target {int(flat[0])} has one value for every example: drop it from y.")
    found = np.asarray(LAMBDAS if lambdas is None else lambdas, np.float64).reshape(-1)
    if not found.size or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(
            f"lambdas are penalties, positive and finite, as np.logspace(0, 4, 12); got {lambdas}."
        )
    return x, y, found


def as_targets(y: ArrayLike, n: int | None = None) -> np.ndarray:
    """Real targets `(n,)` or `(n, targets)`, finite, one row per example."""
    y = np.asarray(y)
    if y.ndim not in (1, 2) or not y.size or (n is not None and len(y) != n):
        rows = "one row per example" if n is None else f"n={n} rows, one per example"
        raise ValueError(f"Targets are (n,) or (n, targets) with {rows}; got y of the shape {y.shape}.")
    y = y.astype(np.float64)
    if not np.isfinite(y).all():
        row = int(np.argwhere(~np.isfinite(y))[0][0])
        raise ValueError(f"Targets are finite; y[{row}] is {y[row]}. Drop such examples from x and y.")
    return y
