"""Every neuron's own probe: those of scikit-learn and of `fit`, reported honestly, traced once."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxinterp import probes
from jaxinterp.probes.linear import _single
from jaxinterp.stats.solvers import _single_columns
from tests.models import sampled


def activations(seed: int = 0, n: int = 700, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """As after a GELU: skewed, most of them near zero, every third with a signal."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 5 == 0).astype(int)
    h = rng.normal(size=(2, n, d)) - 0.5
    h[:, :, ::3] += y[:, None] * rng.exponential(1.5, size=(2, 1, len(range(0, d, 3))))
    return (h / (1 + np.exp(-1.702 * h))).astype(np.float32), y


def test_each_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = activations()
    monkeypatch.setattr(_single, "SAMPLE", 160)  # the search starts from a sample, as with thousands
    singles = probes.single_neuron(x, y)
    assert singles.converged.all() and (singles.iterations <= 8).all()
    for layer in range(2):
        for j in range(x.shape[-1]):
            column = x[layer, :, j : j + 1].astype(np.float64)
            other = LogisticRegression(class_weight="balanced", tol=1e-10, solver="newton-cholesky").fit(
                column, y
            )
            np.testing.assert_allclose(singles.weights[layer, j], other.coef_[0, 0], rtol=1e-4)
            np.testing.assert_allclose(singles.bias[layer, j], other.intercept_[0], atol=1e-4)
            expected = probes.metrics(y, other.decision_function(column))
            for name in ("f1", "precision", "recall", "accuracy", "balanced_accuracy", "mcc"):
                np.testing.assert_allclose(
                    getattr(singles, name)[layer, j], expected[name], atol=1e-5, err_msg=name
                )


@pytest.mark.parametrize("sample", sampled(160, slow=[1024]))
def test_separable_constant_and_huge_neurons(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_single, "SAMPLE", sample)
    x, y = activations(d=6)
    x[0, :, 1] = 0.25
    x[0, :, 2] = np.where(y > 0, 3.0, -1.0)
    x[0, :, 3] = np.where(y > 0, 1.0, 1.0 - 1e-3)
    x[1, :, 1] = 1e4 * x[1, :, 4] + 3e4
    x[1, :, 2] = 0
    x[1, 7, 2] = 50.0  # fires once
    x[1, :, 3] = y + 1e4 * np.where(np.arange(700) % 150 == 149, np.sin(np.arange(700)), 0)
    x[1, :, 0] = np.exp(3 * np.random.default_rng(1).normal(size=700))
    singles = probes.single_neuron(x, y)
    assert singles.converged.all() and singles.weights[0, 1] == 0
    assert singles.f1[0, 2] == 1
    for layer, j in ((0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)):
        probe = probes.fit(x[layer], y, [j], tol=1e-12)
        np.testing.assert_allclose(singles.value[layer, j], probe.value, rtol=2e-5)
        np.testing.assert_allclose(singles.weights[layer, j], probe.weights[0], rtol=5e-3)
    # What is not finished is said.
    assert not probes.single_neuron(x, y, max_iter=1).converged[0, 0]


@pytest.mark.slow
def test_several_labellings_other_inputs_and_one_program() -> None:
    x, y = activations()
    labels = np.stack([y, 1 - y, np.roll(y, 1)])
    both = probes.single_neuron(x, labels)
    assert both.weights.shape == (3, 2, 12) and both.labellings == 3
    alone = probes.single_neuron(x, y)
    np.testing.assert_allclose(both.weights[0], alone.weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both.weights[1], -alone.weights, rtol=1e-3, atol=1e-4)
    found = both.evaluate(x, labels)
    np.testing.assert_allclose(found["f1"], both.f1, atol=1e-6)
    np.testing.assert_allclose(found["f1"][0], alone.evaluate(x, y)["f1"])
    hard = both.decision(x)
    assert hard.shape == (3, 2, 700, 12)
    np.testing.assert_allclose(
        np.mean((hard > 0) == (labels[:, None, :, None] > 0), 2), both.accuracy, atol=1e-6
    )
    # Half precision and arrays of a device; then the same program again.
    half = probes.single_neuron(jnp.asarray(x, jnp.bfloat16), y)
    np.testing.assert_allclose(half.f1, alone.f1, atol=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_single_columns, "solve_columns", None)  # a second trace would call it
        again = probes.single_neuron(x[::-1], np.roll(y, 2), gamma=0.5)
    assert again.converged.all()


def test_blocks_cover_every_neuron(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = activations()
    whole = probes.single_neuron(x, y)
    monkeypatch.setattr(_single, "block_width", lambda shape: 5)
    parts = probes.single_neuron(x, y)
    for name in ("weights", "bias", "value", "f1"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=2e-4, atol=1e-5)


def test_bad_input() -> None:
    x, y = activations(d=6)
    broken: Any = x.copy()
    broken[1, 3, 2] = np.nan
    with pytest.raises(ValueError, match=r"x\[1, 3, 2\] is nan"):
        probes.single_neuron(broken, y)
    with pytest.raises(ValueError, match="overflow in float32"):
        probes.single_neuron(x.astype(np.float64) * 1e37, y)
    with pytest.raises(ValueError, match="inverse of the ridge"):
        probes.single_neuron(x, y, gamma=0)
    with pytest.raises(ValueError, match="each of the 700"):
        probes.single_neuron(x, [y, np.zeros_like(y)])
    with pytest.raises(ValueError, match="of n=700 examples"):
        probes.single_neuron(x, y[1:])
    singles = probes.single_neuron(x, y)
    with pytest.raises(ValueError, match="fitted to labels"):
        singles.evaluate(x, np.stack([y, y]))
    with pytest.raises(ValueError, match="beside n"):
        singles.evaluate(x[0], y)
