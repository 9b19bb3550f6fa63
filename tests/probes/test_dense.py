"""Dense probes: what other solvers find, every layer and label at once, and one program for all."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression

from jaxinterp import probes
from jaxinterp.probes.linear import _dense
from jaxinterp.probes.trained import _training
from tests.models import sampled

KEY = jax.random.key(0)


def data(n: int = 80, d: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n, p=[0.6] + [0.4 / (classes - 1)] * (classes - 1))
    means = rng.normal(size=(classes, d))
    return rng.normal(size=(n, d)) * [1, 0.1, 20, 1, 1, 1] + means[y], y


def traces(fn: Any) -> int:
    return fn._cached._cache_size()


@pytest.mark.parametrize("balanced", sampled(True, slow=[False]))
def test_more_classes_are_those_of_scikit_learn(balanced: bool) -> None:
    x, y = data()
    # Examples of weight 0 are left out, and a class that then has none is never said.
    seen = np.stack([np.ones(80, bool), np.arange(80) < 40, y < 2])
    names = np.array(["a", "b", "c"])
    found = probes.dense(x, names[y], gamma=0.7, balanced=balanced, weights=seen, tol=1e-6)
    assert found.converged.all() and found.gap.min() >= 0 and found.gap.max() <= 1e-6
    weight: Any = "balanced" if balanced else None
    for i in range(2):
        other = LogisticRegression(C=0.7, class_weight=weight, tol=1e-10, solver="newton-cholesky").fit(
            x[seen[i]], y[seen[i]]
        )
        # The gap bounds how far weights can be: ridge * |W - W*|^2 / 2 <= gap * value.
        far = np.sqrt(2 * 0.7 * found.gap[i] * found.value[i]) + 1e-4
        assert np.linalg.norm(found.weights[i].T - other.coef_) <= far
        np.testing.assert_allclose(found.log_probs(x)[i], other.predict_log_proba(x), rtol=1e-3, atol=2e-3)
        np.testing.assert_array_equal(found.predict(x)[i], names[other.predict(x)])
    assert found.bias[2, 2] == -np.inf and (found.predict(x)[2] != "c").all()
    assert (found.log_probs(x)[2, :, 2] == -np.inf).all()


@pytest.mark.slow
def test_two_classes_are_those_of_fit_and_of_every_layer_and_label() -> None:
    x, y = data(classes=2)
    x = np.stack([x, x[:, ::-1] * 2])[:, None]
    order = np.random.default_rng(0).permutation(len(y))
    labels = np.stack([y, y[order], 1 - y])
    found = probes.dense(x, labels, gamma=0.7, tol=1e-6)
    assert found.weights.shape == (2, 3, 6, 2) and found.gap.max() <= 1e-6
    compiled = traces(_dense._dense)
    for layer in range(2):
        for i in range(3):
            probe = probes.fit(x[layer, 0], labels[i], gamma=0.7)
            np.testing.assert_allclose(found.value[layer, i], probe.value, rtol=2e-6)
            w = found.weights[layer, i, :, 1] - found.weights[layer, i, :, 0]
            far = np.sqrt(2 * 0.7 * 1e-6 * probe.value)
            assert np.linalg.norm(w - probe.weights) <= far + 1e-5
        # Other names for the classes: the same columns in another order.
        swapped = found.weights[layer, 2, :, ::-1]
        assert np.linalg.norm(found.weights[layer, 0] - swapped) <= 2 * far
    again = probes.dense(x[::-1] + 1, labels[::-1], gamma=0.2, tol=1e-6)
    assert again.converged.all() and traces(_dense._dense) == compiled


@pytest.mark.slow
def test_more_features_than_examples() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 90)), rng.integers(0, 2, 30)
    found = probes.dense(x, y, gamma=0.1, tol=1e-6)
    probe = probes.fit(x, y, gamma=0.1)
    np.testing.assert_allclose(found.value, probe.value, rtol=2e-6)
    np.testing.assert_allclose(found.decision(x), probe.decision(x), atol=1e-3)


@pytest.mark.slow
def test_a_low_rank() -> None:
    x, y = data(n=120, classes=5)
    full = probes.dense(x, y)
    found = probes.dense(x, y, rank=2)
    s = np.linalg.svd(found.weights)[1]
    assert found.converged and np.isnan(found.gap) and s[2] < 1e-4 * s[0]
    # Worse than no limit, better than cutting off.
    u, s, v = np.linalg.svd(full.weights)
    cut = (u[:, :2] * s[:2]) @ v[:2]
    omega = len(y) / (5 * np.bincount(y))[y]

    def objective(w: Any, b: Any) -> float:
        z = x @ w + b
        nats = np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]
        return float(omega @ nats + (w**2).sum() / 2)

    np.testing.assert_allclose(objective(found.weights, found.bias), found.value, rtol=1e-4)
    assert full.value < found.value < objective(cut, full.bias)


def test_dense_teaches() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="A probe needs two classes"):
        probes.dense(x, np.ones(80, int))
    with pytest.raises(ValueError, match="one label per example"):
        probes.dense(x, y[:-1])
    with pytest.raises(ValueError, match=r"every row of y \(labels, n\): x\[:, None\]"):
        probes.dense(np.stack([x, x]), np.stack([y] * 3))
    with pytest.raises(ValueError, match=r"rank of 1\.\.3"):
        probes.dense(x, y, rank=4)
    with pytest.raises(ValueError, match="ints, bools or strings"):
        probes.dense(x, y + 0.5)
    with pytest.raises(ValueError, match="one of classes"):
        probes.dense(x, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not all 0"):
        probes.dense(x, y, weights=np.zeros(80))


def ring(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


@pytest.mark.wide
def test_a_hidden_layer_trains_in_both_widths() -> None:
    """Counts are int32 with 64-bit numbers on too."""
    x, y = ring(120)
    found = probes.mlp(x, y, (4,), key=KEY, settings=probes.TrainSettings(batch_size=32, epochs=2))
    assert found.epochs == 2 and np.isfinite(found.dev_loss).all()


@pytest.mark.slow
def test_layers_and_seeds_of_a_hidden_layer_are_one_program() -> None:
    x, y = ring()
    both = np.stack([x * 3 + 1, x[:, ::-1]])
    keys = jax.random.split(KEY, 2)
    options: Any = dict(optimizer=optax.adam(1e-2), settings=probes.TrainSettings(batch_size=32, epochs=40))
    found = probes.mlp(both, y, (16,), key=keys, **options)
    assert found.weights[0].shape == (2, 2, 4, 16) and found.dev_loss.shape == (2, 2, 40)
    train = (found.predict(both) == y).mean(-1)
    assert (train[:, 0] > 0.93).all() and (found.steps == 12 * found.epochs).all()
    assert (found.best_epoch <= found.epochs).all()
    lowest = np.nanmin(found.dev_loss, -1)
    np.testing.assert_allclose(
        lowest, np.take_along_axis(found.dev_loss, found.best_epoch[..., None] - 1, -1)[..., 0]
    )
    assert np.isfinite(found.dev_loss).sum(-1).tolist() == found.epochs.tolist()
    compiled = traces(_training.train)
    probes.mlp(both + 1, 1 - y, (16,), key=keys[::-1], **options)
    assert traces(_training.train) == compiled


@pytest.mark.slow
def test_patience_and_examples_that_do_not_count() -> None:
    x, y = ring()
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 2, len(y))
    counts = (np.arange(len(y)) < 200).astype(float)
    settings = probes.TrainSettings(batch_size=32, epochs=40, dropout=0.1, patience=2)
    options: Any = dict(weights=counts, settings=settings)
    keys = jax.random.split(KEY, 2)
    found = probes.mlp(x, np.stack([noise, y]), (16, 8), key=keys, **options)
    assert found.stopped[0, 0] and found.epochs[0, 0] < 40
    losses = found.dev_loss[0, 0, : found.epochs[0, 0]]
    assert (losses[-2:] > losses[:-2].min() - 1e-3).all()
    # What examples of weight 0 hold does not matter.
    other = x.copy()
    other[200:] = rng.normal(size=(200, 4)) * 100
    again = probes.mlp(other, np.stack([noise, y]), (16, 8), key=keys, **options)
    np.testing.assert_array_equal(again.logits(x), found.logits(x))
    # One by one they are the same.
    for seed in range(2):
        for i, labels in enumerate((noise, y)):
            one = probes.mlp(x, labels, (16, 8), key=keys[seed], **options)
            assert one.epochs == found.epochs[seed, i]
            np.testing.assert_allclose(one.logits(x), found.logits(x)[seed, i], atol=1e-4)


@pytest.mark.slow
def test_real_targets_and_pairs() -> None:
    x, _ = ring()
    targets = np.stack([100 * x[:, 0] * x[:, 1], x[:, 2] - 7], 1)
    settings = probes.TrainSettings(dev=(x[:50], targets[:50]), batch_size=32)
    found = probes.mlp(x, targets, (32,), key=KEY, loss="squared", settings=settings)
    assert found.predict(x).shape == (400, 2)
    assert probes.regression_metrics(targets[:, 0], found.predict(x)[:, 0])["r2"] > 0.8
    assert probes.regression_metrics(targets[:, 1], found.predict(x)[:, 1])["r2"] > 0.9
    pairs = x.reshape(400, 2, 2)
    y = np.where((pairs[:, 0] * pairs[:, 1]).sum(-1) > 0, "like", "unlike")
    probe = probes.bilinear(
        pairs,
        y,
        2,
        key=KEY,
        optimizer=optax.adam(1e-2),
        settings=probes.TrainSettings(batch_size=32, epochs=40),
    )
    assert (probe.predict(pairs) == y).mean() > 0.93
    flat = pairs.reshape(400, 4)
    assert (probes.dense(flat, y).predict(flat) == y).mean() < 0.7


def test_mlp_teaches() -> None:
    x, y = ring(40)
    with pytest.raises(ValueError, match=r"key=jax\.random\.key"):
        probes.mlp(x, y, key=0)
    with pytest.raises(ValueError, match="widths of the hidden"):
        probes.mlp(x, y, (0,), key=KEY)
    with pytest.raises(ValueError, match="dev is a share"):
        probes.mlp(x, y, key=KEY, settings=probes.TrainSettings(dev=1.5))
    with pytest.raises(ValueError, match=r"\(\.\.\., n, 2, d\)"):
        probes.bilinear(x, y, key=KEY)
