"""Planted neurons, superposition and dedicated neurons: every method finds what was put there."""

import jax
import numpy as np
import pytest

from jaxinterp import probes, toy


def f1(x: np.ndarray, y: np.ndarray, support: list[int] | np.ndarray, gamma: float = 10.0) -> float:
    """On the second half, of a probe of the first."""
    half = len(x) // 2
    probe = probes.fit(x[:half], y[:half], support, gamma=gamma)
    return float(probes.metrics(y[half:], probe.decision(x[half:]))["f1"])


def in_deviations(x: np.ndarray) -> np.ndarray:
    return x / x.std(0)


def test_selection_finds_planted_neurons() -> None:
    """T2: d = 200, k = 5, shift 1, a tenth positive: 0.8 of the true neurons and more, by all three."""
    recalls: dict[str, list[float]] = {"mean_diff": [], "f_stat": [], "exact": [], "adaptive": []}
    for seed in range(4):
        planted = toy.fake_gelu(jax.random.key(seed), d=200, k=5, shift=1.0, share=0.1)
        assert planted.x.shape == (2000, 200) and planted.y.sum() == 200
        for method in ("mean_diff", "f_stat"):
            scores = probes.rank(planted.x, planted.y, method)
            recalls[method].append(planted.recall(np.argsort(-scores)[:5]))
        best = probes.best_subset(planted.x, planted.y, 5)
        assert best.status == "optimal"
        recalls["exact"].append(planted.recall(best.support))
        found = probes.adaptive(planted.x, planted.y, [5, 16, 64])[5]
        recalls["adaptive"].append(planted.recall(found.support))
    assert all(min(each) >= 0.8 for each in recalls.values()), recalls
    # At random: k/d = 0.025 of them, here over 2,000 orders (five deviations are 0.008).
    orders = jax.vmap(lambda key: jax.random.permutation(key, 200)[:5])(
        jax.random.split(jax.random.key(9), 2000)
    )
    assert abs(np.isin(np.asarray(orders), planted.neurons).mean() - 5 / 200) < 0.008


def test_trials_of_the_published_benchmark() -> None:
    for seed in range(5):
        planted = toy.fake_gelu_trial(jax.random.key(seed), most_n=900, most_d=600)
        n, d = planted.x.shape
        assert 500 <= n <= 900 and d in range(400, 601, 50) and 2 <= len(planted.neurons) <= 19
        assert 0.05 <= planted.shift <= 5 and 0.005 <= planted.y.mean() <= 0.51
    again = toy.fake_gelu_trial(jax.random.key(4), most_n=900, most_d=600)
    np.testing.assert_array_equal(again.x, planted.x)
    with pytest.raises(ValueError, match="1 <= k <= d"):
        toy.fake_gelu(jax.random.key(0), d=3, k=4)
    with pytest.raises(ValueError, match="density and share"):
        toy.planted_superposition(jax.random.key(0), density=0.0)
    with pytest.raises(ValueError, match="'place', 'time' or 'ring'"):
        toy.planted_geo(jax.random.key(0), kind="moon")


def test_superposition_needs_several_neurons() -> None:
    """T3: thirty features in twelve neurons; no neuron tells one, five do, and on unseen examples."""
    single, five = [], []
    for seed in range(5):
        planted = toy.planted_superposition(jax.random.key(seed))
        x, y = in_deviations(planted.x), planted.y
        single.append(max(f1(x, y, [j]) for j in range(12)))
        best = probes.best_subset(x[:1200], y[:1200], 5)
        assert best.status == "optimal"
        five.append(f1(x, y, best.support))
    assert max(single) < 0.8 and min(five) > 0.95, (single, five)


def test_superposition_needs_sparse_features() -> None:
    """Where features often meet, two others together look like a third: five neurons are not enough."""
    planted = toy.planted_superposition(jax.random.key(0), density=0.02)
    x, y = in_deviations(planted.x), planted.y
    best = probes.best_subset(x[:1200], y[:1200], 5, time_limit=5)
    assert f1(x, y, best.support) < 0.9


def test_pruning_degrades_slowly_in_superposition_and_at_once_without() -> None:
    spread = toy.planted_superposition(jax.random.key(0))
    alone = toy.planted_superposition(jax.random.key(0), dedicated=True)
    curves = {}
    for name, planted in (("spread", spread), ("dedicated", alone)):
        x, y = in_deviations(planted.x), planted.y
        turns = probes.prune(
            x[:1200], y[:1200], k=5, rounds=4, test=(x[1200:], y[1200:]), time_limit=20
        )
        assert all(turn.status == "optimal" for turn in turns)
        curves[name] = turns
    turns = curves["spread"]
    # Five neurons know much more than the best of them, and its loss costs little.
    assert all(turn.f1 > turn.removed_f1 + 0.15 for turn in turns)
    drops = -np.diff([turn.f1 for turn in turns])
    assert drops.max() < 0.1, drops
    turns = curves["dedicated"]
    assert turns[0].removed == alone.dedicated and turns[0].removed_f1 > 0.99
    # One neuron was enough; without it the best single one is as bad as in superposition.
    assert turns[0].removed_f1 - turns[1].removed_f1 > 0.2


def test_a_dedicated_neuron_is_lost_in_a_rotated_basis() -> None:
    planted = toy.planted_superposition(jax.random.key(0), dedicated=True)
    neurons = in_deviations(planted.x)
    y = planted.y
    own = max(f1(neurons, y, [j]) for j in range(13))
    assert own > 0.99
    for seed, kind in ((1, "orthogonal"), (2, "gaussian"), (3, "orthogonal")):
        turned = probes.rotate(neurons, jax.random.key(seed), kind)
        assert max(f1(turned, y, [j]) for j in range(13)) < own - 0.1
        # All of them together still hold it.
        assert f1(turned, y, np.arange(13)) > 0.99
