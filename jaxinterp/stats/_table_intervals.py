"""Intervals of measures of hard predictions, from the four counts alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arguments import as_int
from .._deprecations import respelled
from .._random import host_generator
from .._text import shown
from ..typing import FloatLike, IntLike, KeyLike
from ._intervals import check_level, percentile_levels
from ._results import Record, Result
from ._scores import BinaryMetrics

Ends = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class TableIntervals(Result):
    """The two ends of the interval of each measure of hard predictions; made by `table_intervals`.

    ```python
    found = ji.stats.table_intervals({"tp": 40, "fp": 5, "fn": 10, "tn": 45}, key=jax.random.key(0))
    found.f1, found.records()
    ```
    """

    accuracy: Ends
    balanced_accuracy: Ends
    precision: Ends
    recall: Ends
    f1: Ends
    f0_5: Ends
    f2: Ends
    mcc: Ends

    def records(self) -> list[Record]:
        """One row for each measure."""
        return [{"measure": name, "low": low, "high": high} for name, (low, high) in self.items()]


@respelled(bootstrap="resamples=", seed="key=jax.random.key(0)")
def table_intervals(
    counts: Mapping[str, IntLike] | BinaryMetrics | Any,
    *,
    key: KeyLike,
    resamples: IntLike = 1000,
    level: FloatLike = 0.95,
) -> TableIntervals:
    r"""$\mathrm{tp}^* \sim B(n_+, \mathrm{tp}/n_+),\ \mathrm{tn}^* \sim B(n_-, \mathrm{tn}/n_-)$: intervals from counts by the bootstrap.

    To resample the examples of each class with replacement is to draw these two counts. So all resamples
    need only two arrays of random numbers.

    **Arguments:**

    - `counts`: `tp`, `fp`, `fn`, `tn`, as `metrics` gives them.
    - `key`: draws the resamples.
    - `resamples`: how many. Default 1000.
    - `level`: the coverage that the intervals aim at. Default 0.95.

    **Returns:** `TableIntervals`; `found["f1"]` is `found.f1`.

    **Raises:** ValueError for counts that are missing, negative or no ints, and for a class without examples.

    ```python
    ji.stats.table_intervals({"tp": 40, "fp": 5, "fn": 10, "tn": 45}, key=jax.random.key(0)).f1
    ```

    Law: the intervals have the distribution of those of `metrics(..., resamples=)`, whose docstring says how often they
    contain the true value.
    """
    tp, fp, fn, tn = table_counts(counts)
    up, down = tp + fn, fp + tn
    resamples = as_int(resamples, "resamples", 1)
    rng = host_generator(key, "ji.stats.table_intervals(counts, key={})")
    hits, rest = rng.binomial(up, tp / up, resamples), rng.binomial(down, tn / down, resamples)
    false = down - rest

    def over(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
        return np.divide(a, b, out=np.zeros(resamples), where=np.asarray(b) > 0)

    precision, recall = over(hits, hits + false), hits / up

    def beta(b: float) -> np.ndarray:
        return over((1 + b * b) * precision * recall, b * b * precision + recall)

    root = np.sqrt((hits + false) * up * (rest + up - hits) * down)
    drawn = {
        "accuracy": (hits + rest) / (up + down),
        "balanced_accuracy": (recall + rest / down) / 2,
        "precision": precision,
        "recall": recall,
        "f1": beta(1.0),
        "f0_5": beta(0.5),
        "f2": beta(2.0),
        "mcc": over(hits * rest - false * (up - hits), root),
    }
    ends = percentile_levels(check_level(level))
    found = {name: np.quantile(values, ends) for name, values in drawn.items()}
    return TableIntervals(**{name: (float(low), float(high)) for name, (low, high) in found.items()})


def table_counts(counts: Any) -> tuple[int, ...]:
    """`tp`, `fp`, `fn` and `tn` as ints, with examples of both classes. Raises ValueError."""
    names = ("tp", "fp", "fn", "tn")
    if not isinstance(counts, Mapping | Result) or not all(name in counts for name in names):
        raise ValueError(
            'counts has four ints by name, {"tp": 40, "fp": 5, "fn": 10, "tn": 45}, or is a result of '
            f"ji.stats.metrics; got {shown(counts)}."
        )
    found = []
    for name in names:
        value = np.asarray(counts[name])
        if value.shape or value.dtype.kind not in "iuf" or value < 0 or value % 1:
            raise ValueError(
                f"counts are ints of 0 or more of one table; {name} is {shown(counts[name])}. For metrics "
                "of many scores, take one at a time."
            )
        found.append(int(value))
    tp, fp, fn, tn = found
    if not (tp + fn and fp + tn):
        raise ValueError(
            f"A table has examples of both classes; here {tp + fn} are positive (tp + fn) and {fp + tn} "
            "negative (fp + tn)."
        )
    return tuple(found)
