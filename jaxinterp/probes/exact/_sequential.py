"""Sparse regression step by step, without a proof: thresholds, and one term after another."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...stats._examples import as_examples, as_real, check_k
from ...typing import ArrayLike
from .._linear_scores import LinearScores
from ..linear._fit import Probe, fit


def stlsq(
    x: ArrayLike,
    y: ArrayLike,
    threshold: float | int = 0.1,
    *,
    gamma: float | int = 1e6,
    intercept: bool = False,
    max_iter: int = 20,
) -> Probe:
    r"""$S \leftarrow \{j \in S : |w_j(S)| \ge \lambda\}$ until nothing changes: sequentially thresholded least squares.

    Brunton et al. 2016 (https://arxiv.org/abs/1509.03580), each fit with the ridge $1/\gamma$.

    **Arguments:**

    - `x (n, d)`: the terms of a library.
    - `y (n,)`: real targets.
    - `threshold`: weights below it are dropped, in the units of y over those of x. Default 0.1.
    - `gamma`: the inverse ridge. Default 1e6.
    - `intercept`: whether there is a bias. Default False.
    - `max_iter`: the largest number of fits. Default 20.

    **Returns:** `Probe`; where every weight falls below the threshold, one with an empty support.

    ```python
    ji.probes.stlsq(theta, velocity[:, 0], threshold=0.1).support
    ```

    Law: every weight of the result is at least the threshold; none of a subset of size k has a lower
    objective than `best_subset`.
    """
    if not float(threshold) >= 0:
        raise ValueError(f"threshold is a size of weights, 0 or more; got {threshold}.")
    x = as_examples(x)
    y = as_real(y, len(x))
    support = np.arange(x.shape[1])
    options: dict[str, Any] = {"gamma": gamma, "intercept": intercept}
    found = fit(x, y, support, "squared", **options)
    for _ in range(max_iter):
        large = support[np.abs(found.weights) >= threshold]
        if len(large) == len(support):
            break
        support = large
        if not len(support):
            return _nothing(y, found, intercept)
        found = fit(x, y, support, "squared", **options)
    return found


def ssr(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 3,
    *,
    gamma: float | int = 1e6,
    intercept: bool = False,
) -> Probe:
    r"""$S \leftarrow S \setminus \{\arg\min_{j \in S} |w_j(S)| \sigma_j\}$ down to k terms: stepwise sparse regression.

    Boninsegna et al. 2018 (https://arxiv.org/abs/1712.02432); weights are compared times the root mean
    square of their column, so that units do not matter.

    **Arguments:** as `stlsq`.

    - `k`: the number of terms. Default 3.

    **Returns:** `Probe`.

    ```python
    ji.probes.ssr(theta, velocity[:, 0], k=2).support
    ```
    """
    x = as_examples(x)
    n, d = x.shape
    y, k = as_real(y, n), check_k(k, d, n)
    size = np.sqrt((x.astype(np.float64) ** 2).mean(0))
    support = np.arange(d)
    while True:
        found = fit(x, y, support, "squared", gamma=gamma, intercept=intercept)
        if len(support) == k:
            return found
        support = np.delete(support, np.argmin(np.abs(found.weights) * size[support]))


def _nothing(y: np.ndarray, found: Probe, intercept: bool) -> Probe:
    bias = float(y.mean()) if intercept else 0.0
    value = float(((y - bias) ** 2).mean() / 2)
    return Probe(
        np.zeros(0, int),
        np.zeros(0),
        bias,
        value,
        value,
        0.0,
        True,
        1,
        found.loss,
        found.gamma,
        found.features,
    )


def aicc(x: ArrayLike, y: ArrayLike, found: LinearScores) -> float:
    r"""$n \ln(\mathrm{RSS}/n) + 2k + \frac{2(k+1)(k+2)}{n-k-2}$ of a regression: smaller is better.

    Akaike's criterion, corrected for few examples.

    **Arguments:**

    - `x (n, d)`, `y (n,)`: examples; best those of a validation run.
    - `found`: a `Subset` or `Probe` of squared loss.

    **Returns:** the criterion, a float.

    ```python
    path = ji.probes.best_subsets(theta, v, range(1, 4), "squared", intercept=False)
    min(path, key=lambda k: ji.probes.aicc(held_theta, held_v, path[k]))  # the k to take
    ```
    """
    x = as_examples(x)
    n, k = len(x), len(found.support)
    if found.loss != "squared" or n - k - 2 <= 0:
        raise ValueError(
            f"aicc is for regressions with more than k + 2 examples; got loss={found.loss!r}, n={n}, k={k}."
        )
    rss = float(((as_real(y, n) - found.predict(x)) ** 2).sum())
    return n * float(np.log(max(rss / n, 1e-300))) + 2 * k + 2 * (k + 1) * (k + 2) / (n - k - 2)


def choose_k(path: Mapping[int, LinearScores], x: ArrayLike, y: ArrayLike, *, tie: float | int = 2.0) -> int:
    r"""$\min \{k : \mathrm{AICc}(k) \le \min_{k'} \mathrm{AICc}(k') + \mathrm{tie}\}$ over a path of `best_subsets`.

    Models whose criterion is within 2 of the best fit the data about equally well; this function takes the smallest
    of them.

    **Arguments:**

    - `path`: the result of `best_subsets`.
    - `x (n, d)`, `y (n,)`: examples, preferably those of a validation run.
    - `tie`: the distance from the best that counts as equal. Default 2; 0 is the plain minimum.

    **Returns:** k.

    ```python
    ji.probes.choose_k(path, held_theta, held_v)
    ```
    """
    if not path:
        raise ValueError("path is what best_subsets returns, with one k or more; got an empty one.")
    scores = {k: aicc(x, y, found) for k, found in path.items()}
    best = min(scores.values())
    return min(k for k, score in scores.items() if score <= best + tie)
