"""The elastic net: a logistic probe that drops features by itself, with its duality gap."""

import numpy as np

from ...stats._examples import as_examples, as_labels, as_support
from ...stats._examples import example_weights as _example_weights
from ...stats.solvers import ElasticNet
from ...typing import ArrayLike, IndexLike
from ._fit import Probe


def elastic_net(
    x: ArrayLike,
    y: ArrayLike,
    support: IndexLike | None = None,
    *,
    gamma: float | int = 1.0,
    l1_ratio: float | int = 0.5,
    balanced: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
) -> Probe:
    r"""$\min_{w,b} \frac{1-r}{2} \lVert w \rVert^2 + r \lVert w \rVert_1 + \gamma \sum_i \omega_i \log(1 + e^{-y_i (w \cdot x_i + b)})$.

    The elastic net of Zou & Hastie 2005 (https://doi.org/10.1111/j.1467-9868.2005.00503.x), in the form of the saga
    solver of scikit-learn: gamma is its C, and the bias is not penalised. The solver is proximal Newton. Coordinate
    descent finds the signs of each quadratic problem, and a step for these signs solves it exactly.

    **Arguments:**

    - `x (n, d)`: activations, a row per example.
    - `y (n,)`: labels 0 and 1.
    - `support`: columns of x, or a mask `(d,)`. Default None: all columns.
    - `gamma`: the inverse penalty. Default 1.
    - `l1_ratio`: r, from 0 (ridge, as `fit`) to 1 (lasso). Default 0.5.
    - `balanced`: whether both classes weigh n/2. Default True.
    - `tol`: the relative duality gap that counts as converged. Default 1e-8.
    - `max_iter`: the largest number of Newton steps. Default 100.

    **Returns:** `Probe` on these columns. Many of its weights are exactly 0. `value`, `bound`
    and `gap` are those of the objective above.

    **Raises:** as `best_subset`; ValueError for a ratio outside of 0..1.

    ```python
    probe = ji.probes.elastic_net(x, y, gamma=0.5, l1_ratio=0.9)
    probe.support[probe.weights != 0], probe.converged, probe.gap
    ```

    Law: weights and bias are those of scikit-learn's saga; with r = 0 those of `fit`.
    """
    if not (np.isfinite(gamma) and gamma > 0 and 0 <= l1_ratio <= 1):
        raise ValueError(
            "gamma is the inverse of the penalty, positive and finite, and l1_ratio is in 0..1; got "
            f"gamma={gamma}, l1_ratio={l1_ratio}."
        )
    x = as_examples(x)
    n, d = x.shape
    signs = as_labels(y, n)
    columns = as_support(support, d)
    weight = float(gamma) * _example_weights(signs, balanced)
    net = ElasticNet(np.ascontiguousarray(x[:, columns], np.float64), signs, weight, float(l1_ratio))
    w, b, value, bound, turns = net.solve(float(tol), int(max_iter))
    gap = (value - bound) / max(abs(value), 1e-12)
    return Probe(columns, w, b, value, bound, gap, bool(gap <= tol), turns, "logistic", float(gamma), d)
