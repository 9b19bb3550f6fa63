"""Statistics refuse what they cannot answer, in words that name the argument."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxinterp as ji

KEY = jax.random.key(0)
TABLE = {"tp": 40, "fp": 5, "fn": 10, "tn": 45}
Y, SCORE = np.array([0, 1, 1]), np.array([-1.0, 1.0, 0.5])


def table(counts: Any, **options: Any) -> Any:
    return ji.stats.table_intervals(counts, key=KEY, **options)


CASES = [
    (lambda: ji.stats.metrics(Y, [0, np.inf, 1]), r"score are finite; score\[1\] is not"),
    (lambda: ji.stats.metrics(Y, ["a", "b", "c"]), "score is an array of numbers"),
    (lambda: ji.stats.metrics(Y, SCORE, resamples=-5, key=KEY), "resamples is an int of 0 or more; got -5"),
    (lambda: ji.stats.metrics(Y, SCORE, resamples=5.5, key=KEY), "resamples is an int; got 5.5"),
    (lambda: ji.stats.regression_metrics([1.0, 2.0], [1.0, np.nan]), r"predicted\[1\] is not"),
    (lambda: ji.stats.regression_metrics(["a"], [1.0]), "y is an array of numbers"),
    (lambda: ji.stats.permutation_p([1.0, 2.0], [1.0]), "For many scores call it for each"),  # type: ignore[arg-type]
    (lambda: ji.stats.permutation_p(1.0, []), r"null \(R,\) the scores of one random order or more"),
    (lambda: ji.stats.discoveries([0.1, 1.5]), "p-values are between 0 and 1; got 1.5"),
    (lambda: ji.stats.discoveries([0.1], rate=5), "rate is a number between 0 and 1; got 5"),
    (lambda: table({"tp": 1}), "counts has four ints by name"),
    (lambda: table([1, 2, 3, 4]), "counts has four ints by name"),
    (lambda: table({**TABLE, "tp": -1}), "counts are ints of 0 or more of one table; tp is -1"),
    (lambda: table({**TABLE, "tp": 0.5}), "tp is 0.5"),
    (lambda: table({**TABLE, "tp": 0, "fn": 0}), r"here 0 are positive \(tp \+ fn\) and 50 negative"),
    (lambda: table(ji.stats.metrics(Y, np.stack([SCORE, SCORE]))), "take one at a time"),
    (lambda: table(TABLE, resamples=0), "resamples is an int of 1 or more; got 0"),
]


@pytest.mark.parametrize(("call", "words"), CASES)
def test_bad_input_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_table_of_metrics_and_no_p_value_are_taken() -> None:
    assert table(ji.stats.metrics(Y, SCORE)).f1 == (1.0, 1.0)
    assert ji.stats.discoveries([0.001, np.nan]).tolist() == [True, False]
    assert ji.stats.metrics(Y, SCORE).get("intervals") is None
