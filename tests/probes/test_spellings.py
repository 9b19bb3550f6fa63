"""Old spellings of probes and statistics are refused with the corrected call."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import probes

X, Y = np.zeros((6, 2)), np.array([0, 1] * 3)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: probes.metrics(Y, Y, bootstrap=10, key=KEY),
            r"ji.stats.metrics has no argument bootstrap=. Write resamples=",
        ),
        (lambda: probes.nulls(X, Y, train=[0], test=[1], key=KEY, count=9), "Write resamples="),
        (lambda: probes.shuffled_labels(Y, count=9, key=KEY), "Write resamples="),
        (lambda: probes.selectivity(X, Y, Y, train=[0], test=[1], key=KEY, together=True), "Write batched="),
        (lambda: probes.proximity_error(X, X, chunk=5), "Write batch_size="),
        (
            lambda: probes.best_subset(X, Y, 1, screen=False),
            r"settings=ji.probes.SearchSettings\(screen=False\)",
        ),
        (lambda: probes.best_subsets(X, Y, [1], tol=1e-3), r"settings=ji.probes.SearchSettings\(tol="),
    ],
)
def test_an_old_spelling_is_refused_with_the_new_one(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()
