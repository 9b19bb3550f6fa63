"""Many supports at once are `fit` one by one."""

from typing import Any

import numpy as np
import pytest

from jaxinterp import probes
from jaxinterp.probes.linear import _many
from jaxinterp.stats.solvers import _supports
from tests.models import sampled


def activations(n: int = 400, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 4 == 0).astype(int)
    x = rng.normal(size=(2, n, d)) + 2 + y[:, None] * rng.normal(size=(2, 1, d)) * 0.7
    x[0, :, 5] *= 100
    return x.astype(np.float32), y


SUPPORTS = [[3, 0, 5], [7, 2], [1, 9, 11], [4, 5, 6], [19]]


@pytest.mark.parametrize(
    ("loss", "intercept"),
    sampled(
        ("logistic", True),
        ("squared", False),
        slow=[("hinge", True), ("logistic", False), ("squared", True), ("hinge", False)],
    ),
)
def test_each_is_its_own_fit(loss: str, intercept: bool) -> None:
    x, y = activations()
    target: Any = y if loss != "squared" else 3 * x[0, :, 3].astype(np.float64) + y + 7
    options: Any = dict(gamma=0.5, intercept=intercept)
    many = probes.fit_many(x, target, SUPPORTS, loss, **options)
    assert many.weights.shape == (2, 5, 3) and many.bias.shape == (2, 5)
    if loss == "hinge":  # reported as it came out: a column a hundred times as wide leaves 1e-8
        one = probes.fit(x[0], target, np.sort(SUPPORTS[0]), loss, **options)
        assert many.converged[0, 0] == one.converged and many.converged[1].all()
    else:
        assert many.converged.all()
    score = many.decision(x)
    assert score.shape == (2, 5, 400)
    found = many.evaluate(x, target)
    for layer in range(2):
        for at, support in enumerate(SUPPORTS):
            probe = probes.fit(x[layer], target, np.sort(support), loss, tol=1e-11, **options)
            order = np.argsort(np.argsort(support))
            own = probe.weights[order]
            np.testing.assert_allclose(many.weights[layer, at, : len(support)], own, rtol=2e-4, atol=2e-5)
            np.testing.assert_allclose(many.value[layer, at], probe.value, rtol=2e-5)
            np.testing.assert_allclose(score[layer, at], probe.decision(x[layer]), atol=2e-3)
            if loss == "squared":
                expected = probes.regression_metrics(target, score[layer, at])
            else:
                expected = probes.metrics(y, score[layer, at])
            for name, value in expected.items():
                np.testing.assert_allclose(found[name][layer, at], value, rtol=1e-9, err_msg=name)
    assert (many.weights[:, 4, 1:] == 0).all()


@pytest.mark.slow
def test_labellings_separable_data_and_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = activations()
    x[1, :, 2] = np.where(y > 0, 1.0, -1.0)
    labels = np.stack([y, np.roll(y, 1)])
    monkeypatch.setattr(_many, "PROBES_PER_PROGRAM", 2)
    supports = np.array([[[[0, 1], [2, 3], [5, -1]]] * 2, [[[4, 1], [2, 9], [8, 7]]] * 2])
    many = probes.fit_many(x, labels, supports)
    assert many.weights.shape == (2, 2, 3, 2) and many.converged.all()
    for feature in range(2):
        for layer in range(2):
            for at in range(3):
                support = supports[feature, layer, at]
                probe = probes.fit(x[layer], labels[feature], np.sort(support[support >= 0]), tol=1e-11)
                np.testing.assert_allclose(many.value[feature, layer, at], probe.value, rtol=2e-5)
    assert many.evaluate(x, labels)["f1"][0, 1, 1] == 1
    # One step is not enough, and that is said; the same shapes are not traced again.
    monkeypatch.setattr(_supports, "factored", None)
    assert not probes.fit_many(x, labels, supports[::-1], max_iter=1).converged.any()


def test_bad_input() -> None:
    x, y = activations()
    for supports in ([], [[]], np.zeros((2, 2)), [3, 4]):
        with pytest.raises(ValueError, match="lists of columns"):
            probes.fit_many(x, y, supports)
    with pytest.raises(IndexError, match=r"Columns are 0\.\.19"):
        probes.fit_many(x, y, [[1, 20]])
    with pytest.raises(IndexError, match="distinct"):
        probes.fit_many(x, y, [[1, 2], [3, 3]])
    with pytest.raises(ValueError, match="axes"):
        probes.fit_many(x, y, np.zeros((3, 4, 1), int))
    x[1, 0, 2] = np.inf
    with pytest.raises(ValueError, match="finite"):
        probes.fit_many(x, y, [[1, 2, 3], [3, 4, 5]])
    with pytest.raises(ValueError, match="axes"):
        probes.fit_many(x[0], y, [[1, 2, 3]]).decision(x)
