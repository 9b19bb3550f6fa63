"""Intervals and tests of means: those of SciPy, and their laws."""

import jax
import numpy as np
import pytest
import scipy.stats

from jaxinterp import stats

pytestmark = pytest.mark.quick


def test_intervals_of_several_means_are_those_of_each() -> None:
    values = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    found = stats.mean_interval(values, level=0.9)
    for row, low, high in zip(values, found.low, found.high, strict=True):
        ends = scipy.stats.t.interval(0.9, 8, row.mean(), scipy.stats.sem(row))
        np.testing.assert_allclose((low, high), ends, rtol=1e-4, atol=1e-6)
    assert found.records()[1]["mean"] == pytest.approx(values[1].mean())


@pytest.mark.parametrize("interval", ["bca", "percentile"])
def test_bootstrap_intervals_are_those_of_scipy(interval: str) -> None:
    values = np.random.default_rng(1).exponential(size=15).astype(np.float32)
    method = {"bca": "BCa", "percentile": "percentile"}[interval]
    other = scipy.stats.bootstrap((values,), np.mean, method=method, n_resamples=5000, rng=0)
    found = stats.mean_interval(values, key=jax.random.key(0), resamples=5000, interval=interval)
    np.testing.assert_allclose((found.low, found.high), other.confidence_interval, atol=0.03)


def test_p_values_count_patterns_and_draws() -> None:
    assert stats.sign_flip_test([0.3, 0.5, 0.2, 0.4], key=jax.random.key(0)) == 0.125
    many = np.random.default_rng(2).normal(size=(200, 14)).astype(np.float32)
    p = stats.sign_flip_test(many, key=jax.random.key(0), resamples=400)
    assert 0.02 < (p < 0.1).mean() < 0.2 and p.min() > 0
    assert np.isnan(stats.sign_flip_test([np.nan, 1.0], key=jax.random.key(0)))


def test_p_of_drawn_scores_and_false_discoveries() -> None:
    assert stats.permutation_p(0.9, [0.5, 0.6, 0.4]) == 0.25
    assert np.isnan(stats.permutation_p(0.9, [0.5, np.nan]))
    p = np.array([[0.001, 0.8], [0.02, np.nan]])
    assert stats.discoveries(p).tolist() == [[True, False], [True, False]]
    expected = scipy.stats.false_discovery_control([0.001, 0.02, 0.8]) <= 0.05
    assert stats.discoveries([0.001, 0.02, 0.8]).tolist() == expected.tolist()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="two values or more"):
        stats.mean_interval([1.0])
    with pytest.raises(ValueError, match=r"mean_interval\(..., key=jax.random.key\(0\)\)"):
        stats.mean_interval([1.0, 2.0], interval="bca")
    with pytest.raises(ValueError, match=r"sign_flip_test\(values, key=jax.random.key\(3\)\)"):
        stats.sign_flip_test([1.0, 2.0], key=3)
