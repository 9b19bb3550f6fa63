"""Nested supports, pruning, and controls that know what they should show."""

import itertools

import jax
import numpy as np
import pytest

from jaxinterp import probes


def planted(n: int = 300, d: int = 60, true: tuple[int, ...] = (5, 17), shift: float = 2.0):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.3).astype(int)
    x = rng.normal(size=(n, d))
    x[:, list(true)] += shift * y[:, None]
    return x, y


def test_supports_are_nested_and_find_what_was_planted() -> None:
    x, y = planted()
    x[:, 30] *= 1e-3
    found = probes.adaptive(x, y, [1, 2, 4, 16])
    assert list(found) == [1, 2, 4, 16]
    supports = [set(found[k].support.tolist()) for k in found]
    assert [len(s) for s in supports] == [1, 2, 4, 16]
    assert all(a < b for a, b in itertools.pairwise(supports))
    assert supports[1] == {5, 17}
    assert probes.sparsities(20) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20]
    assert probes.sparsities(3072)[-3:] == [64, 128, 256]
    with pytest.raises(ValueError, match="ks names"):
        probes.adaptive(x, y, [])


def test_pruning_tells_a_dedicated_neuron_from_superposition() -> None:
    """Planted superposition: features spread over neurons survive the loss of one; a neuron's own does not."""
    x, y = planted(true=(7,), shift=5.0)
    turns = probes.prune(x, y, k=2, rounds=2)
    assert turns[0].removed == 7 and turns[0].f1 > 0.95 and turns[1].f1 < 0.7
    x, y = planted(true=tuple(range(10, 22)), shift=1.2)
    turns = probes.prune(x, y, k=5, rounds=4, test=(x, y))
    removed = [turn.removed for turn in turns]
    assert len(set(removed)) == 4 and set(removed) <= set(range(10, 22))
    assert turns[0].f1 > turns[0].removed_f1 + 0.1 and turns[3].f1 > turns[0].f1 - 0.15
    with pytest.raises(ValueError, match="at most 56 rounds leave k=5"):
        probes.prune(x, y, k=5, rounds=57)


def test_exact_supports_show_planted_superposition() -> None:
    """Thirty features in twelve neurons: no neuron tells one feature, the exact five do."""
    rng = np.random.default_rng(0)
    feature = rng.random((600, 30)) < 0.02
    feature[:, 0] = rng.random(600) < 0.3
    direction = rng.normal(size=(30, 12))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = np.maximum(0, feature @ direction - 0.1)
    y = feature[:, 0].astype(int)
    single = probes.single_neuron(x, y).f1.max()
    found = probes.best_subset(x, y, 5, gamma=100.0)
    five = probes.metrics(y, found.decision(x))["f1"]
    assert found.status == "optimal" and five > single + 0.08 and five > 0.93, (single, five)


def test_mass_mean_is_discriminant_analysis_when_whitened() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y = planted(d=5, true=(1, 2))
    x = x @ np.random.default_rng(1).normal(size=(5, 5))
    w = probes.mass_mean(x, y, whiten=True).weights
    other = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    np.testing.assert_allclose(
        w / np.linalg.norm(w), other.coef_[0] / np.linalg.norm(other.coef_), atol=1e-8
    )
    # The threshold is that of equal priors.
    shift = np.log(y.mean() / (1 - y.mean()))
    np.testing.assert_array_equal(
        probes.mass_mean(x, y, whiten=True).predict(x), other.decision_function(x) - shift > 0
    )
    np.testing.assert_allclose(
        probes.mass_mean(x, y).weights, x[y == 1].mean(0) - x[y == 0].mean(0)
    )


def test_control_and_shuffled_labels() -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2000, size=6000)
    y = (rng.random(6000) < 0.3).astype(int)
    control = probes.control_labels(types, y, key=jax.random.key(0))
    assert all(len(set(control[types == t].tolist())) == 1 for t in np.unique(types)[:50])
    assert abs(control.mean() - 0.3) < 0.06
    nulls = probes.shuffled_labels(y, 3, key=jax.random.key(1))
    assert (
        nulls.shape == (3, 6000)
        and (nulls.sum(1) == y.sum()).all()
        and (nulls[0] != nulls[1]).any()
    )
    with pytest.raises(ValueError, match="one type and one label"):
        probes.control_labels(types[:5], y, key=jax.random.key(0))


def test_bits_of_noise_and_of_separable_labels() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4))
    noise = rng.random(2000) < 0.5
    key = jax.random.key(0)
    assert 0.9 < probes.online_code(x, noise, key=key).compression < 1.05
    easy = x[:, 0] > 0
    found = probes.online_code(x, easy, key=key, gamma=1e3)
    assert found.compression > 5 and found.uniform == 2000 and found.ends[-1] == 2000
    np.testing.assert_allclose(found.bits, found.block_bits.sum())
    np.testing.assert_allclose(
        probes.online_code(x, ~easy, key=key, gamma=1e3).bits, found.bits, rtol=1e-5
    )
    with pytest.raises(ValueError, match="fractions rise"):
        probes.online_code(x, easy, key=key, fractions=[0.5, 0.25, 1])
