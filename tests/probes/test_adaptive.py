"""Nested supports, pruning, and controls that know what they should show."""

import functools
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
    assert list(found) == [1, 2, 4, 16] and all(probe.converged for probe in found.values())
    supports = [set(found[k].support.tolist()) for k in found]
    assert [len(s) for s in supports] == [1, 2, 4, 16]
    assert all(a < b for a, b in itertools.pairwise(supports))
    assert supports[1] == {5, 17}
    assert probes.sparsities(20) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20]
    assert probes.sparsities(3072)[-3:] == [64, 128, 256]
    with pytest.raises(ValueError, match="ks names"):
        probes.adaptive(x, y, [])


def test_each_k_is_the_published_net_on_normalised_neurons() -> None:
    """Written out: C = k/20, l1_ratio = clip(exp(-k/20), 0.1, 0.9), re-ranked by |coef|."""
    from sklearn.linear_model import LogisticRegression

    x, y = planted(n=1500, d=20, shift=1.5)
    x = x * np.random.default_rng(1).uniform(0.1, 10, 20)
    found = probes.adaptive(x, y, [2, 5, 8])
    z = x / (10 * x.std(0))
    kept = np.argsort(-np.abs(z[y == 1].mean(0) - z[y == 0].mean(0)))[:8]
    for k in (8, 5, 2):
        kept = kept[:k]
        ratio = np.clip(np.exp(-k / 20), 0.1, 0.9)
        net = LogisticRegression(
            C=k / 20,
            l1_ratio=ratio,
            solver="saga",
            class_weight="balanced",
            tol=1e-8,
            max_iter=20000,
        ).fit(z[:, kept], y)
        assert set(found[k].support.tolist()) == set(kept.tolist())
        order = np.argsort(kept)
        weights = found[k].weights * 10 * x.std(0)[found[k].support]
        np.testing.assert_allclose(weights, net.coef_[0][order], atol=2e-4)
        np.testing.assert_allclose(found[k].decision(x), net.decision_function(z[:, kept]), atol=2e-3)
        kept = kept[np.argsort(-np.abs(net.coef_[0]), kind="stable")]


@pytest.mark.slow
def test_units_change_nothing_and_any_fit_can_take_its_place() -> None:
    x, y = planted()
    units = np.random.default_rng(1).uniform(0.5, 20, x.shape[1])
    one, other = (probes.adaptive(each, y, [2, 8]) for each in (x, x * units - 7))
    for k in (2, 8):
        assert one[k].support.tolist() == other[k].support.tolist()
        np.testing.assert_allclose(one[k].decision(x), other[k].decision(x * units - 7), atol=1e-4)
    ridge = probes.adaptive(x, y, [3], fit=probes.fit, normalise=False)[3]
    np.testing.assert_allclose(ridge.weights, probes.fit(x, y, ridge.support).weights)
    hinge = probes.adaptive(x, y, [2], fit=functools.partial(probes.fit, loss="hinge", gamma=100))
    assert set(hinge[2].support.tolist()) == {5, 17}
    plain = functools.partial(probes.shrinking_net, balanced=False)
    assert probes.adaptive(x, y, [2], fit=plain)[2].bias != one[2].bias


def test_pruning_takes_the_exact_support_each_turn() -> None:
    """Brute force over what is left, turn after turn; a filter searches what it says."""
    x, y = planted(n=120, d=8, true=(1, 4, 6), shift=1.0)
    left = list(range(8))
    for turn in probes.prune(x, y, k=2, rounds=3, prefilter=None, gamma=0.3):
        brute = {s: probes.fit(x, y, s, gamma=0.3).value for s in itertools.combinations(left, 2)}
        assert tuple(turn.subset.support.tolist()) == min(brute, key=brute.__getitem__)
        np.testing.assert_allclose(turn.subset.value, min(brute.values()), rtol=1e-6)
        assert turn.status == "optimal" and turn.gap <= 1e-6 and turn.searched.tolist() == left
        alone = [probes.metrics(y, probes.fit(x, y, [j]).decision(x))["f1"] for j in turn.subset.support]
        np.testing.assert_allclose(turn.alone, alone)
        assert turn.removed == turn.subset.support[np.argmax(alone)]
        assert turn.removed_f1 == max(alone)
        np.testing.assert_allclose(
            turn.f1, probes.metrics(y, probes.fit(x, y, turn.subset.support).decision(x))["f1"]
        )
        left.remove(turn.removed)
    few = probes.prune(x, y, k=2, rounds=1, prefilter=4)[0]
    assert set(few.searched.tolist()) == set(np.argsort(-probes.rank(x, y))[:4].tolist())
    late = probes.prune(*planted(n=200, d=40), k=5, rounds=1, gamma=100, time_limit=0)[0]
    assert late.status == "time_limit" and late.gap > 1e-6 and "time_limit" in repr(late)
    with pytest.raises(ValueError, match="at most 7 rounds leave k=2"):
        probes.prune(x, y, k=2, rounds=8)
    with pytest.raises(ValueError, match="prefilter=1 is fewer"):
        probes.prune(x, y, k=2, rounds=2, prefilter=1)


@pytest.mark.slow
def test_mass_mean_is_discriminant_analysis_when_whitened() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y = planted(d=5, true=(1, 2))
    x = x @ np.random.default_rng(1).normal(size=(5, 5))
    w = probes.mass_mean(x, y, whiten=True).weights
    other = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    np.testing.assert_allclose(w / np.linalg.norm(w), other.coef_[0] / np.linalg.norm(other.coef_), atol=1e-8)
    # The threshold is that of equal priors.
    shift = np.log(y.mean() / (1 - y.mean()))
    np.testing.assert_array_equal(
        probes.mass_mean(x, y, whiten=True).predict(x), other.decision_function(x) - shift > 0
    )
    np.testing.assert_allclose(probes.mass_mean(x, y).weights, x[y == 1].mean(0) - x[y == 0].mean(0))


def test_control_and_shuffled_labels() -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2000, size=6000)
    y = (rng.random(6000) < 0.3).astype(int)
    control = probes.control_labels(types, y, key=jax.random.key(0))
    assert all(len(set(control[types == t].tolist())) == 1 for t in np.unique(types)[:50])
    assert abs(control.mean() - 0.3) < 0.06
    nulls = probes.shuffled_labels(y, 3, key=jax.random.key(1))
    assert nulls.shape == (3, 6000) and (nulls.sum(1) == y.sum()).all() and (nulls[0] != nulls[1]).any()
    with pytest.raises(ValueError, match="one type and one label"):
        probes.control_labels(types[:5], y, key=jax.random.key(0))
