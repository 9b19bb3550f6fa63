"""How well simulated activations agree with true ones."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...stats import Result
from ...typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class SimulationScores(Result):
    """Correlations of simulated and true activations; made by `simulation_scores`. They are 0 where either is constant.

    ```python
    scores = ji.sae.simulation_scores([[0, 0, 7], [0, 9, 0]], [[0, 0, 9], [0, 8, 0]])
    scores.spearman, scores.pearson
    ```
    """

    spearman: float
    pearson: float


@dataclasses.dataclass(frozen=True)
class BillsScores(Result):
    """Scores of simulated activations; made by `bills_scores`.

    - `correlation`: Pearson's correlation.
    - `r2`: the share of the variance that the best straight line explains.
    - `ablation`: how much nearer the model's predictions are to its own with calibrated simulated activations than with
      their mean; None without `outputs`.

    ```python
    scores = ji.sae.bills_scores([[0.0, 0.0, 10.0]], [[0.0, 0.1, 2.5]])
    scores.correlation, scores.r2
    ```
    """

    correlation: float
    r2: float
    ablation: float | None = None


def simulation_scores(
    predicted: ArrayLike, true: ArrayLike, weight: ArrayLike | None = None
) -> SimulationScores:
    r"""$r(\hat f, f)$ over all tokens: the correlations of Pearson and of Spearman (equal values have their mean rank).

    **Arguments:**

    - `predicted`, `true`: a number for each token: arrays of one shape, or lists of sequences. A token whose
      true value is NaN does not count.
    - `weight`: the weight of each token, or of each sequence. A weight of 2 counts a token twice. Default 1.

    **Returns:** `SimulationScores`, with `spearman` and `pearson`.

    **Raises:** ValueError for other shapes, predictions that are not finite, weights below 0.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    ji.sae.simulation_scores([[0, 0, 7], [0, 9, 0]], [[0, 0, 9], [0, 8, 0]])
    ```

    Law: rising functions of the true activations have a Spearman correlation of 1, and rising linear functions a Pearson
    correlation of 1; whole weights are repetitions.
    """
    p, t, w = _pooled(predicted, true, weight)
    return SimulationScores(_pearson(_ranks(p, w), _ranks(t, w), w), _pearson(p, t, w))


def bills_scores(
    predicted: ArrayLike, true: ArrayLike, *, outputs: Callable[[list[np.ndarray]], Any] | None = None
) -> BillsScores:
    r"""$r(\hat f, f)$ and $1 - \min_{a, b} \mathbb E (f - a \hat f - b)^2 / \mathbb E f^2$, pooled over sequences.

    **Arguments:**

    - `predicted`: simulated activations: a list of sequences `(pos,)`, or of distributions `(pos, 11)` over
      0..10, whose mean is taken.
    - `true`: a list of sequences `(pos,)`.
    - `outputs`: a function for the ablation score. It is called with activations, a list of `(pos,)`, and
      returns the model's logits `(pos, vocab)` of each sequence with the feature at these values. Default
      None: no ablation score.

    **Returns:** `BillsScores`: `correlation`, `r2`, and with `outputs` also `ablation`,
    $1 - \mathbb E\, JS(\hat f) / \mathbb E\, JS(\bar f)$.

    Bills et al. 2023 (https://openaipublic.blob.core.windows.net/neuron-explainer/paper/index.html).

    ```python
    ji.sae.bills_scores([[0.0, 0.0, 10.0]], [[0.0, 0.1, 2.5]])
    ```

    Law: the true activations have 1 in all scores; a constant has correlation 0 and ablation 0.
    """
    sequences: Any = predicted
    guessed = [expected(each) for each in sequences]
    p, t, w = _pooled(guessed, true, None)
    at = p - p.mean()
    slope = float(at @ (t - t.mean())) / float(at @ at) if _varies(p, w) else 0.0
    level = float(t.mean()) - slope * float(p.mean())
    error = float(np.square(t - slope * p - level).mean())
    size = float(np.square(t).mean())
    ablation = None
    if outputs is not None:
        sequences = true
        truth = [np.asarray(each, np.float64) for each in sequences]
        fill = [np.where(np.isnan(each), 0, each) for each in truth]
        logits = outputs(fill)
        near = _divergence(outputs([slope * each + level for each in guessed]), logits)
        far = _divergence(outputs([np.full(len(each), t.mean()) for each in truth]), logits)
        ablation = 1 - near / far if far else 0.0
    return BillsScores(_pearson(p, t, w), 1 - error / size if size else 0.0, ablation)


def expected(predicted: Any) -> np.ndarray:
    r"""$\sum_v v P(v)$ of distributions `(pos, 11)` over 0..10; numbers `(pos,)` as they are."""
    p = np.asarray(predicted, np.float64)
    if p.ndim == 2 and p.shape[1] == 11 and (p >= 0).all() and (p.sum(1) > 0).all():
        return p @ np.arange(11) / p.sum(1)
    if p.ndim != 1:
        raise ValueError(
            "A simulated sequence is a number for each token (pos,), or a distribution over 0..10 "
            f"(pos, 11); got the shape {p.shape}."
        )
    return p


def _pooled(predicted: Any, true: Any, weight: Any) -> tuple[np.ndarray, ...]:
    flat = lambda x: [np.atleast_1d(np.asarray(each, np.float64)).ravel() for each in x]
    p, t = flat(predicted), flat(true)
    if [len(x) for x in p] != [len(x) for x in t] or not sum(map(len, t)):
        raise ValueError(
            "Predicted and true activations are of the same tokens; got sequences of "
            f"{[len(x) for x in p][:6]} and {[len(x) for x in t][:6]} tokens."
        )
    w = np.ones(len(t)) if weight is None else np.asarray(weight, object)
    if len(w) != len(t):
        raise ValueError(f"weight is one for each of the {len(t)} sequences; got {len(w)}.")
    w = [np.broadcast_to(np.asarray(a, np.float64).ravel(), len(x)) for a, x in zip(w, t, strict=True)]
    p, t, w = (np.concatenate(x) for x in (p, t, w))
    counts = ~np.isnan(t)
    if not np.isfinite(p[counts]).all() or not np.isfinite(w).all() or (w < 0).any():
        raise ValueError("Predictions and weights are finite numbers, weights none below 0.")
    return p[counts], t[counts], w[counts]


def _varies(x: np.ndarray, w: np.ndarray) -> bool:
    inside = x[w > 0]
    return len(inside) > 1 and bool(inside.min() < inside.max())


def _pearson(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> float:
    if not (_varies(a, w) and _varies(b, w)):
        return 0.0
    w = w / w.sum()
    a, b = a - w @ a, b - w @ b
    return float(w @ (a * b) / np.sqrt((w @ a**2) * (w @ b**2)))


def _ranks(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The weight below each, and half of that of its equals: mean ranks, where weights are 1."""
    _, place = np.unique(x, return_inverse=True)
    own = np.bincount(place, weights=w)
    return (np.cumsum(own) - own / 2)[place]


def _divergence(a: Sequence[Any], b: Sequence[Any]) -> float:
    """The mean Jensen-Shannon divergence of predictions, from logits."""
    total, count = 0.0, 0
    for one, two in zip(a, b, strict=True):
        p, q = (_shares(np.asarray(x, np.float64)) for x in (one, two))
        middle = np.log((p + q) / 2 + 1e-300)
        part = (p * (np.log(p + 1e-300) - middle) + q * (np.log(q + 1e-300) - middle)).sum(-1) / 2
        total, count = total + float(part.sum()), count + part.size
    return total / max(count, 1)


def _shares(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)
