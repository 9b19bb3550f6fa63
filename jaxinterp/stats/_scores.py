"""How good a probe is, from its scores; every measure of the literature, and its interval."""

import dataclasses
from typing import Any, TypeAlias

import numpy as np

from .._arguments import as_int, as_numbers
from .._deprecations import respelled
from .._random import host_generator
from ..typing import ArrayLike, IntLike, KeyLike
from ._examples import as_labels, as_real
from ._intervals import check_level, percentile_levels
from ._results import Record, Result

Value: TypeAlias = float | np.ndarray
"A measure: of one score vector a number, of many an array."


@dataclasses.dataclass(frozen=True, eq=False)
class BinaryMetrics(Result):
    """Measures of scores of two classes; made by `metrics`.

    Each is a number, or an array `(...)` for scores `(..., n)`; `found["f1"]` is `found.f1`.

    - `accuracy`, `balanced_accuracy`, `precision`, `recall`.
    - `f1`, `f0_5`, `f2`: $F_\\beta$. `mcc`: Matthews' correlation. `kappa`: Cohen's.
    - `fowlkes_mallows`: of the two groupings, by pairs of examples.
    - `roc_auc` (ties count half), `pr_auc` (trapezoids), `average_precision` (steps).
    - `log_loss`: nats, of the sigmoid of the score. No probability is cut off near 0.
    - `tp`, `fp`, `fn`, `tn`: counts. `positive_share`: of the labels.
    - `intervals`: with `resamples`, by measure its interval (low, high); else None.

    ```python
    found = ji.stats.metrics([0, 0, 1, 1], [-1.0, 0.5, 2.0, 1.0])
    found.f1, found["roc_auc"], found.records()
    ```
    """

    accuracy: Value
    balanced_accuracy: Value
    precision: Value
    recall: Value
    f1: Value
    f0_5: Value
    f2: Value
    mcc: Value
    kappa: Value
    fowlkes_mallows: Value
    roc_auc: Value
    pr_auc: Value
    average_precision: Value
    log_loss: Value
    tp: Value
    fp: Value
    fn: Value
    tn: Value
    positive_share: Value
    intervals: dict[str, tuple[Value, Value]] | None = None

    def records(self) -> list[Record]:
        """One row for each score vector; intervals are the columns `f1_low` and `f1_high`."""
        columns = {name: np.ravel(getattr(self, name)) for name in self if name != "intervals"}
        for name, (low, high) in (self.intervals or {}).items():
            columns |= {f"{name}_low": np.ravel(low), f"{name}_high": np.ravel(high)}
        count = len(columns["f1"])
        return [{name: float(value[row]) for name, value in columns.items()} for row in range(count)]


@respelled(bootstrap="resamples=", seed="key=jax.random.key(0)")
def metrics(
    y: ArrayLike,
    score: ArrayLike,
    *,
    resamples: IntLike = 0,
    key: KeyLike | None = None,
    level: float = 0.95,
) -> BinaryMetrics:
    r"""$F_\beta = \frac{(1+\beta^2) P R}{\beta^2 P + R}$ and other measures of a binary probe, from its scores.

    A prediction is positive where `score > 0`; a score of exactly 0 is negative. 0/0 counts as 0. Gurnee et
    al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `y (n,)`: labels 0 and 1.
    - `score (n,)`: decisions of a probe (log odds), or of many probes at once `(..., n)`.
    - `resamples`: how many resamples of the examples make the intervals. Default 0: no intervals. Classes
      keep their sizes, and all probes get the same resamples.
    - `key`: draws the resamples.
    - `level`: the coverage that the intervals aim at. Default 0.95.

    **Returns:** `BinaryMetrics`, with numbers or arrays `(...)`. With `resamples` it has `intervals`: for each
    measure (low, high), percentiles of the resamples. With few examples the intervals are too narrow. For a probe
    with almost no errors they are nearly empty, because resamples contain no error that the examples lack.
    How often they contain the true F1, measured at the level 0.95:

    | positives, negatives | recall 0.6, false alarms 0.1 | 0.9, 0.05 | 0.98, 0.005 |
    |---|---|---|---|
    | 10, 40 | 0.93 | 0.85 | 0.33 |
    | 20, 80 | 0.95 | 0.93 | 0.54 |
    | 50, 200 | 0.94 | 0.95 | 0.86 |
    | 200, 800 | 0.94 | 0.95 | 0.94 |

    **Raises:** ValueError for one class only, lengths that differ, scores that are not finite.

    ```python
    found = ji.probes.metrics(y, probe.decision(x), resamples=200, key=jax.random.key(0))
    found.f1, found.intervals["f1"]
    ```

    Law: the measures are those of scikit-learn's functions of the same names, and 0 where those have no value; many
    scores give the same as one call for each.
    """
    score = np.asarray(as_numbers(score, "score"))
    resamples = as_int(resamples, "resamples", 0)
    if not score.ndim or not score.size:
        raise ValueError(f"score is one number per example, (n,) or (..., n); got the shape {score.shape}.")
    n = score.shape[-1]
    up = as_labels(y, n) > 0
    flat = np.stack([as_real(each, n, "score") for each in score.reshape(-1, n)])

    def shaped(values: np.ndarray) -> Value:
        return float(values[0]) if score.ndim == 1 else values.reshape(score.shape[:-1])

    ones = np.ones((1, n))
    each = [_binary(up, one, ones) for one in flat]
    measures: dict[str, Any] = {name: shaped(np.array([one[name][0] for one in each])) for name in each[0]}
    found = BinaryMetrics(**measures)
    if not resamples:
        return found
    if key is None:
        raise ValueError("Resampling needs a key: metrics(..., key=jax.random.key(0)).")
    ends = percentile_levels(check_level(level))
    rng = host_generator(key, "metrics(..., key={})")
    drawn: list[list[dict[str, np.ndarray]]] = [[] for _ in flat]
    for first in range(0, resamples, RESAMPLES_AT_ONCE):
        times = _resample(rng, up, min(RESAMPLES_AT_ONCE, resamples - first))
        for parts, one in zip(drawn, flat, strict=True):
            parts.append(_binary(up, one, times))
    intervals = {}
    for name in each[0]:
        values = [np.quantile(np.concatenate([p[name] for p in parts]), ends) for parts in drawn]
        low, high = np.array(values).T
        intervals[name] = shaped(low), shaped(high)
    return dataclasses.replace(found, intervals=intervals)


RESAMPLES_AT_ONCE = 50
"So many fit into a cache."


def _resample(rng: np.random.Generator, up: np.ndarray, many: int) -> np.ndarray:
    """How often each example is drawn, `(many, n)`, with replacement within its class."""
    times = np.zeros((many, len(up)))
    for side in (np.flatnonzero(up), np.flatnonzero(~up)):
        size = len(side)
        drawn = rng.integers(0, size, (many, size)) + size * np.arange(many)[:, None]
        times[:, side] = np.bincount(drawn.ravel(), minlength=many * size).reshape(many, size)
    return times


def ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b, 0 where b is 0."""
    return np.where(b != 0, a / np.where(b != 0, b, 1), 0.0)


def _binary(up: np.ndarray, score: np.ndarray, times: np.ndarray) -> dict[str, Any]:
    """Measures `(r,)` of the examples, each counted so many `times (r, n)`; classes keep their sizes."""
    n, positive = len(up), score > 0
    cells = positive & up, positive & ~up, ~positive & up, ~positive & ~up
    tp, fp, fn, tn = (times @ cell for cell in cells)
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    beta = lambda b: ratio((1 + b * b) * precision * recall, b * b * precision + recall)
    chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / n**2
    accuracy = (tp + tn) / n
    # Ordered pairs of examples in one cell, against pairs of one prediction and of one class.
    pairs = lambda *cells: sum(cell * cell for cell in cells) - n
    alike = pairs(tp, fp, fn, tn)
    # One sort serves all curves: at every distinct score, how many of each class lie at or above.
    order = np.argsort(-score, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(score[order])), n - 1]
    counts = times[:, order]
    high = np.cumsum(counts * up[order], 1)[:, last]
    low = np.cumsum(counts, 1)[:, last] - high
    # A curve begins with nothing taken: recall 0, precision 1.
    hits, false = (np.pad(a, ((0, 0), (1, 0))) for a in (high, low))
    tpr, fpr = hits / hits[:, -1:], false / false[:, -1:]
    taken = hits + false
    curve = np.where(taken > 0, hits / np.where(taken > 0, taken, 1), 1.0)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": (recall + ratio(tn, tn + fp)) / 2,
        "precision": precision,
        "recall": recall,
        "f1": beta(1.0),
        "f0_5": beta(0.5),
        "f2": beta(2.0),
        "mcc": ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "kappa": ratio(accuracy - chance, 1 - chance),
        "fowlkes_mallows": np.sqrt(
            ratio(alike, pairs(tp + fp, fn + tn)) * ratio(alike, pairs(tp + fn, fp + tn))
        ),
        "roc_auc": np.trapezoid(tpr, fpr, axis=1),
        "pr_auc": np.trapezoid(curve, tpr, axis=1),
        "average_precision": np.sum(np.diff(tpr, axis=1) * curve[:, 1:], 1),
        "log_loss": times @ np.logaddexp(0, np.where(up, -score, score)) / n,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "positive_share": (tp + fn) / n,
    }
