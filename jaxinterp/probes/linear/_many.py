"""Many sparse probes at once, each on its own support."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._tabular import Record, Tabular
from ...stats import BinaryMetrics, RegressionMetrics, metrics, regression_metrics
from ...stats._blocks import cores
from ...stats._examples import as_examples, as_labels, as_real, as_shaped, check_loss
from ...stats._examples import example_weights as _example_weights
from ...stats.solvers import support_solver
from ...typing import ArrayLike
from ._fit import fit

PROBES_PER_PROGRAM = 16
"Their columns, gathered, are what a cache or a step of an accelerator holds."


@dataclass(frozen=True, eq=False)
class Probes(Tabular):
    """Linear probes of many supports; made by `fit_many`.

    - `support (..., m, k)`: columns of x, -1 where a support is shorter.
    - `weights (..., m, k)`: 0 where a support is shorter.
    - `bias`, `value` of the objective, `converged`, `iterations`: `(..., m)`.
    - `loss`; `gamma`, the inverse ridge; `features`, the d of x.

    ```python
    probes = ji.probes.fit_many(x, y, [[3, 14], [0, 1]])
    probes.weights, probes.evaluate(x, y)["f1"]
    ```
    """

    support: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray
    loss: str
    gamma: float
    features: int

    def records(self) -> list[Record]:
        """A row for each probe: its indices, its support and weights, and what the solver reached."""
        names = ("support", "weights", "bias", "value", "converged", "iterations")
        return [
            {f"axis {i}": j for i, j in enumerate(at)}
            | {name: getattr(self, name)[at].tolist() for name in names}
            for at in np.ndindex(self.value.shape)
        ]

    def decision(self, x: ArrayLike) -> np.ndarray:
        """Scores of every probe, `(..., m, n)` for x `(..., n, d)`."""
        rows = as_shaped(x, layers=True)
        lead = self.support.shape[:-2]
        if rows.shape[-1] != self.features or lead[len(lead) - rows.ndim + 2 :] != rows.shape[:-2]:
            raise ValueError(
                f"These probes read x with the axes {lead} (or their last ones), examples, then "
                f"d={self.features} features; got the shape {rows.shape}."
            )
        layers = rows.reshape(-1, *rows.shape[-2:])
        out = np.empty((int(np.prod(lead, dtype=int)), self.support.shape[-2], rows.shape[-2]))
        parts = (a.reshape(len(out), -1, *a.shape[len(lead) + 1 :]) for a in self._linear())
        for at, (support, weights, bias) in enumerate(zip(*parts, strict=True)):
            z = np.asarray(layers[at % len(layers)][:, support.ravel()], np.float64)
            z = z.reshape(len(z), *support.shape)
            out[at] = np.einsum("nmk,mk->mn", z, weights) + bias[:, None]
        return out.reshape(*lead, *out.shape[1:])

    def evaluate(self, x: ArrayLike, y: ArrayLike) -> BinaryMetrics | RegressionMetrics:
        """`metrics` of each probe on other examples, arrays `(..., m)`; of squared loss `regression_metrics`.

        - `x (..., n, d)`: activations. `y (n,)`: labels; for several labellings `(labelling, n)`.
        """
        score = self.decision(x)
        n = score.shape[-1]
        y = np.asarray(y)
        if y.ndim > 1 and y.shape[0] != score.shape[0]:
            raise ValueError(f"There are probes of {len(score)} labellings; got y of {y.shape}.")
        rows = y if y.ndim > 1 else y[None]
        parts = score.reshape(len(rows), -1, n)
        if self.loss == "squared":
            each = [
                regression_metrics(row, one) for row, part in zip(rows, parts, strict=True) for one in part
            ]
            found = {name: np.array([e[name] for e in each]) for name in each[0]}
            return RegressionMetrics(**{name: a.reshape(score.shape[:-1]) for name, a in found.items()})
        several = [metrics(row, part) for row, part in zip(rows, parts, strict=True)]
        found = {name: np.concatenate([s[name] for s in several]) for name in several[0]}
        shaped: dict[str, Any] = {name: a.reshape(score.shape[:-1]) for name, a in found.items()}
        return BinaryMetrics(**shaped)

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.support, self.weights, self.bias


def fit_many(
    x: ArrayLike,
    y: ArrayLike,
    supports: ArrayLike,
    loss: str = "logistic",
    *,
    gamma: float | int = 1.0,
    balanced: bool = True,
    intercept: bool = True,
    max_iter: int = 50,
) -> Probes:
    r"""$\min_{w,b} \sum_i \omega_i\, \ell(y_i, w \cdot x_{i,S} + b) + \frac{1}{2\gamma} \lVert w \rVert^2$ for every support S of many.

    Logistic probes are solved by Newton's method and squared ones by the closed form, in float32, many in one program.
    Calls with the same n and k share this program. Probes of the hinge loss are solved one by one, by `fit`.

    **Arguments:**

    - `x (..., n, d)`: activations, with any leading axes (layers).
    - `y (n,)`: labels, or several labellings `(labelling, n)`.
    - `supports (m, k)`: columns of x, the same in each layer; or `(..., m, k)` with the leading axes of x, and
      with an axis of labellings before these. -1 fills up a support that is shorter.
    - `loss`, `gamma`, `balanced`, `intercept`: as in `fit`.
    - `max_iter`: the largest number of passes over the examples. Default 50.

    **Returns:** `Probes`, arrays `(..., m)` or `(labelling, ..., m)`.

    **Raises:** as `fit`.

    ```python
    order = np.argsort(-ji.probes.rank(x, y))
    probes = ji.probes.fit_many(x, y, [order[:8], order[8:16]])
    probes.evaluate(x, y)["f1"], probes.converged
    ```

    Law: each is `fit(x, y, S)`.
    """
    check_loss(loss)
    x = as_shaped(x, layers=True)
    n, d = x.shape[-2:]
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    labels = np.asarray(y)
    rows = labels if labels.ndim == 2 else labels[None]
    read = as_real if loss == "squared" else as_labels
    sides = [read(row, n) for row in rows]
    omegas = [_example_weights(side, balanced and loss != "squared") for side in sides]
    lead = (*labels.shape[:-1], *x.shape[:-2])
    support = _as_supports(supports, lead, d)
    layers = int(np.prod(x.shape[:-2], dtype=int))
    flat = x.reshape(layers, n, d)
    by_layer = support.reshape(len(rows), layers, *support.shape[-2:])
    m = by_layer.shape[2]
    size = min(m, PROBES_PER_PROGRAM)
    jobs = [
        (labelling, layer, min(first, m - size))
        for labelling in range(len(rows))
        for layer in range(layers)
        for first in range(0, m, size)
    ]
    most, ridge = jnp.int32(max_iter), jnp.float32(1 / gamma)

    def one(job: tuple[int, int, int]) -> dict[str, np.ndarray]:
        labelling, layer, first = job
        chosen = by_layer[labelling, layer, first : first + size]
        y, omega = sides[labelling], omegas[labelling]
        if loss == "hinge":
            whole = as_examples(flat[layer])
            options: Any = dict(gamma=gamma, balanced=balanced, intercept=intercept)
            return _one_by_one(whole, y, chosen, options, max_iter)
        z = np.asarray(flat[layer][:, np.maximum(chosen, 0).ravel()], np.float32)
        real = lambda a: jnp.asarray(a, jnp.float32)
        program = support_solver(loss, bool(intercept))
        found = program(real(z), jnp.asarray(chosen >= 0), real(y), real(omega), ridge, most)
        return {name: np.asarray(value) for name, value in found.items()}

    out: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(cores()) as pool:
        first = one(jobs[0])  # compiles, once
        for job, found in zip(jobs, [first, *pool.map(one, jobs[1:])], strict=True):
            for name, value in found.items():
                shape = (*by_layer.shape[:3], *value.shape[1:])
                into = out.setdefault(name, np.empty(shape, value.dtype))
                into[job[0], job[1], job[2] : job[2] + size] = value
    if not np.isfinite(out.pop("size", np.zeros(1))).all():
        as_examples(x, layers=True)
        raise ValueError("Activations beyond 1e17 overflow in float32; divide them first.")
    arrays = {name: v.reshape(*lead, *v.shape[2:]) for name, v in out.items()}
    return Probes(support, **arrays, loss=loss, gamma=float(gamma), features=d)


def _as_supports(supports: Any, lead: tuple[int, ...], d: int) -> np.ndarray:
    """Supports `(*lead, m, k)`; a list of supports of different lengths is filled up with -1."""
    if isinstance(supports, list | tuple) and all(np.ndim(s) == 1 for s in supports):
        longest = max(map(len, supports), default=0)
        supports = [[*map(int, s), *[-1] * (longest - len(s))] for s in supports]
    given = np.asarray(supports)
    if given.ndim < 2 or not given.size or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"supports are lists of columns, ints (m, k) or ({', '.join(map(str, (*lead, 'm', 'k')))}); "
            f"got {given.dtype} of the shape {given.shape}. One support alone: [support]."
        )
    if given.min() < -1 or given.max() >= d:
        raise IndexError(f"Columns are 0..{d - 1} of x, or -1 for none; got {given.min()}..{given.max()}.")
    ordered = np.sort(given, -1)
    twice = (np.diff(ordered, axis=-1) == 0) & (ordered[..., 1:] >= 0)
    if twice.any():
        where = np.argwhere(twice.any(-1))[0]
        raise IndexError(f"A support holds distinct columns; got {given[tuple(where)].tolist()}.")
    own = given.shape[:-2]
    if own != lead[len(lead) - len(own) :]:
        raise ValueError(
            f"supports have the axes {lead} (or their last ones) before (m, k); got {given.shape}."
        )
    return np.broadcast_to(given, (*lead, *given.shape[-2:]))


def _one_by_one(
    x: np.ndarray, y: np.ndarray, supports: np.ndarray, options: Any, max_iter: int
) -> dict[str, np.ndarray]:
    found = {name: [] for name in ("weights", "bias", "value", "converged", "iterations")}
    for support in supports:
        kept = support >= 0
        probe = fit(x, y, np.sort(support[kept]), "hinge", max_iter=max_iter, **options)
        weights = np.zeros(len(support))
        weights[np.flatnonzero(kept)[np.argsort(support[kept])]] = probe.weights
        found["weights"].append(weights)
        for name in ("bias", "value", "converged", "iterations"):
            found[name].append(getattr(probe, name))
    return {name: np.array(values) for name, values in found.items()}
