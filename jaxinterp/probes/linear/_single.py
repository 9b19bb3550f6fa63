"""The probe of each single neuron, all at once."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ... import viz
from ..._tabular import Record, Tabular
from ...stats import Result
from ...stats._blocks import block_width, by_block
from ...stats._examples import as_examples, as_labels, as_shaped
from ...stats._examples import example_weights as _example_weights
from ...stats.solvers import column_scorer, column_solver
from ...typing import ArrayLike

SAMPLE = 1024
"So many examples, half of each class, from which the search starts where there are far more."


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionMetrics(Result):
    """Measures of hard predictions, arrays `(..., d)`; made by `Singles.evaluate`.

    ```python
    found = ji.probes.single_neuron(x, y).evaluate(x, y)
    found.f1.argmax(), found["precision"].max()
    ```
    """

    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    accuracy: np.ndarray
    balanced_accuracy: np.ndarray
    mcc: np.ndarray


class Singles(Tabular, eqx.Module):
    """One probe per neuron; made by `single_neuron`.

    Each field is an array `(..., d)`, for several labellings `(labelling, ..., d)`.

    - `weights`, `bias`, `value` of the objective.
    - `converged`; `iterations`: passes over the examples.
    - `f1`, `precision`, `recall`, `accuracy`, `balanced_accuracy`, `mcc`: on the training examples, where a
      score above 0 is a positive prediction.
    - `labellings`: how many labellings there were; 0 for labels `(n,)`.

    ```python
    singles = ji.probes.single_neuron(x, y)
    singles.f1.shape, singles.weights, singles.decision(x).shape
    ```
    """

    weights: np.ndarray | jax.Array
    bias: np.ndarray | jax.Array
    value: np.ndarray | jax.Array
    converged: np.ndarray | jax.Array
    iterations: np.ndarray | jax.Array
    f1: np.ndarray | jax.Array
    precision: np.ndarray | jax.Array
    recall: np.ndarray | jax.Array
    accuracy: np.ndarray | jax.Array
    balanced_accuracy: np.ndarray | jax.Array
    mcc: np.ndarray | jax.Array
    labellings: int = eqx.field(static=True, default=0)

    def records(self) -> list[Record]:
        """A row for each probe: its indices, the neuron last, its metrics, and whether the solver converged."""
        names = ("f1", "precision", "recall", "accuracy", "balanced_accuracy", "mcc", "converged")
        parts = {name: np.asarray(getattr(self, name)) for name in names}
        return [
            {f"axis {i}": j for i, j in enumerate(at[:-1])}
            | {"neuron": at[-1]}
            | {name: part[at].item() for name, part in parts.items()}
            for at in np.ndindex(parts["f1"].shape)
        ]

    def figure(self, *, title: str = "The best single neurons") -> viz.Figure:
        """A table of the hundred probes of the largest F1."""
        best = sorted(self.records(), key=lambda row: -np.nan_to_num(row["f1"]))[:100]
        return viz.records(best, title=title)

    def decision(self, x: ArrayLike) -> np.ndarray | jax.Array:
        """Scores of each neuron's own probe, `(..., n, d)` for x of that shape."""
        rows = as_shaped(x, layers=True)
        self._check(rows)
        rows = rows[None] if self.labellings else rows
        return rows * self.weights[..., None, :] + self.bias[..., None, :]

    def evaluate(self, x: ArrayLike, y: ArrayLike) -> "PredictionMetrics":
        """Metrics `(..., d)` of each probe on other examples.

        - `x (..., n, d)`: activations. `y (n,)`: labels; for several labellings `(labelling, n)`.
        """
        rows = as_shaped(x, layers=True)
        self._check(rows)
        signs = _labellings(y, rows.shape[-2])
        if (np.ndim(y) > 1, len(signs)) != (self.labellings > 0, self.labellings or 1):
            wanted = f"(labelling={self.labellings}, n)" if self.labellings else "(n,)"
            raise ValueError(f"These probes were fitted to labels {wanted}; got {np.shape(y)}.")
        up = jnp.asarray(signs > 0, jnp.float32)
        lead = (len(signs), -1, rows.shape[-1])
        v, b = (np.reshape(a, lead) for a in (self.weights, self.bias))

        def block(part: Any, layer: int, where: slice) -> dict[str, Any]:
            return column_scorer()(part, up, v[:, layer, where], b[:, layer, where])

        found = by_block(rows, block, block_width(rows.shape))
        return PredictionMetrics(**{name: value.reshape(self.weights.shape) for name, value in found.items()})

    def _check(self, x: Any) -> None:
        beside = self.weights.shape[1:] if self.labellings else self.weights.shape
        if x.ndim < 2 or (*x.shape[:-2], *x.shape[-1:]) != beside:
            raise ValueError(
                f"These probes read x (..., n, d) with the axes {beside} beside n; got the shape {x.shape}."
            )


def single_neuron(
    x: ArrayLike, y: ArrayLike, *, gamma: float | int = 1.0, balanced: bool = True, max_iter: int = 50
) -> Singles:
    r"""$\min_{w_j, b_j} \sum_i \omega_i \log(1 + e^{-y_i (w_j x_{ij} + b_j)}) + \frac{1}{2\gamma} w_j^2$ for every j.

    Newton's method runs for all neurons in one program, block after block. A step of a neuron solves a 2 x 2
    system of sums over the examples, and one pass over the examples gives the sums of all neurons. With thousands of
    examples the search starts from the optimum of a sample of them.

    **Arguments:**

    - `x (..., n, d)`: activations, with any leading axes (layers). NumPy, also memory-mapped (blocks are
      read one by one), or JAX.
    - `y (n,)`: labels 0 and 1, or several labellings at once `(labelling, n)`.
    - `gamma`: the inverse ridge. Default 1.
    - `balanced`: whether both classes weigh n/2. Default True.
    - `max_iter`: the largest number of passes over the examples. Default 50.

    **Returns:** `Singles`, arrays `(..., d)`, or `(labelling, ..., d)`. Neurons that never change get
    the weight 0. `converged` says whether the Newton decrement fell below 1e-8 of the objective; one more step
    is then taken.

    **Raises:** as `best_subset`.

    ```python
    singles = ji.probes.single_neuron(x, y)
    int(singles.f1.argmax()), float(singles.f1.max())
    singles.evaluate(x, y)["f1"]
    ```

    Law: each is `fit(x, y, support=[j])`, in float32.
    """
    x = as_shaped(x, layers=True)
    n, d = x.shape[-2:]
    signs = _labellings(y, n)
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    omega = np.stack([_example_weights(each, balanced) for each in signs])
    rows, share = _sample(signs, omega)
    width = block_width(x.shape)
    group = 32 if jax.default_backend() == "cpu" and width % 32 == 0 else width
    fit = column_solver(group)
    real = lambda a: jnp.asarray(a, jnp.float32)
    side, weight, share = real(signs), real(omega), real(share)
    rows, ridge, most = jnp.asarray(rows, jnp.int32), jnp.float32(1 / gamma), jnp.int32(max_iter)
    block = lambda part, layer, where: fit(part, side, weight, rows, share, ridge, most)
    found = by_block(x, block, width)
    if not np.isfinite(found.pop("middle")).all():
        as_examples(x, layers=True)
        raise ValueError("Activations beyond 1e34 overflow in float32; divide them first.")
    shape = (*np.shape(y)[:-1], *x.shape[:-2], d)
    labellings = len(signs) if np.ndim(y) > 1 else 0
    return Singles(**{name: value.reshape(shape) for name, value in found.items()}, labellings=labellings)


def _labellings(y: Any, n: int) -> np.ndarray:
    """Signs `(feature, n)` of one labelling or several."""
    y = np.asarray(y)
    if y.ndim == 2 and len(y):
        return np.stack([as_labels(each, n) for each in y])
    return as_labels(y, n)[None]


def _sample(signs: np.ndarray, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each class, evenly spread, and their weights with the class's sum kept.

    No rows where there are too few examples for a sample to be cheaper than all.
    """
    rows, shares = [], []
    for sign, weight in zip(signs, omega, strict=True):
        up, down = np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)
        if len(sign) < 4 * SAMPLE:
            rows.append(np.zeros(0, np.int32))
            shares.append(np.zeros(0))
            continue
        many = int(np.clip(SAMPLE // 2, SAMPLE - len(down), len(up)))
        taken = [
            side[np.linspace(0, len(side) - 1, size).astype(int)]
            for side, size in ((up, many), (down, SAMPLE - many))
        ]
        sums = [weight[side].sum() for side in (up, down)]
        rows.append(np.concatenate(taken))
        shares.append(np.concatenate([np.full(len(t), s / len(t)) for t, s in zip(taken, sums, strict=True)]))
    return np.stack(rows), np.stack(shares)
