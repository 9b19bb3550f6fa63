"""Estimators of directions: their definitions, laws, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp import steering
from jaxinterp._jax_versions import enable_x64

pytestmark = pytest.mark.quick

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2, 3, 5)).astype(np.float32) + 1.0
Y = RNG.normal(size=(30, 2, 3, 5)).astype(np.float32)
ESTIMATORS = (
    steering.difference_in_means,
    steering.mass_mean,
    lambda x, y: steering.logistic(x, y, gamma=0.1),
    lambda x, y: steering.principal_difference(x[:30], y[:30]),
)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_axes_between_are_directions_of_their_own(estimate):
    whole = estimate(X, Y)
    assert whole.shape == (2, 3, 5)
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(estimate(X[:, i, j], Y[:, i, j]), whole[i, j], atol=1e-4, rtol=1e-4)


def test_difference_in_means():
    found = steering.difference_in_means(X, Y)
    np.testing.assert_allclose(found, X.astype(float).mean(0) - Y.astype(float).mean(0), atol=1e-6)
    np.testing.assert_allclose(steering.difference_in_means(Y, X), -found, atol=0)
    np.testing.assert_allclose(jax.jit(steering.difference_in_means)(X, Y), found, atol=1e-5)
    along = jax.vmap(steering.difference_in_means, (1, 1))(jnp.asarray(X), jnp.asarray(Y))
    np.testing.assert_allclose(along, found, atol=1e-5)
    # Float64 sums: float32 ones of values this large lose the difference.
    large = np.full((4096, 3), 1e6, np.float32) + RNG.normal(size=(4096, 3)).astype(np.float32)
    exact = large.astype(float).mean(0) - large[::2].astype(float).mean(0)
    np.testing.assert_allclose(steering.difference_in_means(large, large[::2]), exact, atol=0.1)
    with enable_x64(True):
        assert steering.difference_in_means(X.astype(np.float64), Y.astype(np.float64)).dtype == np.float64


def test_mass_mean_is_fishers_discriminant():
    x, y = X[:, 0, 0], Y[:, 0, 0]
    pooled = (np.cov(x.T) * (len(x) - 1) + np.cov(y.T) * (len(y) - 1)) / (len(x) + len(y) - 2)
    wanted = np.linalg.solve(pooled, x.mean(0) - y.mean(0))
    np.testing.assert_allclose(steering.mass_mean(x, y), wanted, rtol=1e-3, atol=1e-4)
    shrunk = steering.mass_mean(x, y, shrinkage=1.0)
    means = steering.difference_in_means(x, y)
    np.testing.assert_allclose(shrunk / jnp.linalg.norm(shrunk), means / jnp.linalg.norm(means), atol=1e-5)
    a = RNG.normal(size=(5, 5)).astype(np.float32)
    moved = steering.mass_mean(x @ a.T, y @ a.T)
    np.testing.assert_allclose(a.T @ moved, wanted, rtol=0.02, atol=0.02)


def test_logistic_is_the_probe():
    x, y = X[:, 0, 0], Y[:, 0, 0]
    rows, labels = np.concatenate([x, y]), np.repeat([1, 0], [40, 30])
    np.testing.assert_allclose(steering.logistic(x, y), ji.probes.fit(rows, labels).weights, atol=1e-8)


def test_principal_difference():
    x, y = X[:30], Y
    np.testing.assert_allclose(
        steering.principal_difference(y, x), -steering.principal_difference(x, y), atol=1e-5
    )
    axis = np.array([3.0, 0, -4, 0, 0], np.float32)
    sizes = RNG.uniform(1, 2, size=(30, 1)).astype(np.float32)
    found = steering.principal_difference(y[:, 0, 0] + sizes * axis, y[:, 0, 0])
    np.testing.assert_allclose(found, axis / 5, atol=1e-5)


def test_what_estimators_refuse():
    with pytest.raises(ValueError, match="prompts on the first axis"):
        steering.difference_in_means(X[:, 0, 0], Y[:, 0])
    with pytest.raises(ValueError, match="at least one prompt"):
        steering.difference_in_means(X[:0], Y)
    with pytest.raises(ValueError, match="rank 4 at most, and 5"):
        steering.mass_mean(X[:3, 0, 0], Y[:3, 0, 0])
    flat = X[:, 0, 0].copy(), Y[:, 0, 0].copy()
    for each in flat:
        each[:, 2] = each[:, 1]
    with pytest.raises(ValueError, match="singular"):
        steering.mass_mean(*flat)
    assert np.isfinite(steering.mass_mean(*flat, shrinkage=0.1)).all()
    with pytest.raises(ValueError, match="Pairs are rows"):
        steering.principal_difference(X, Y)
    with pytest.raises(ValueError, match="between 0 and 1"):
        steering.mass_mean(X, Y, shrinkage=2.0)
