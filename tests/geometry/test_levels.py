"""Behaviour and single units: planted truths, and agreement with the textbook's other route to the same number."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import scipy

import jaxinterp as ji

g = ji.geometry


def test_error_consistency_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4000)) < np.array([[0.8], [0.7]])
    apart = g.error_consistency(a, b)
    assert apart.low < 0 < apart.high and abs(apart.expected - (0.56 + 0.06)) < 0.02
    assert g.error_consistency(a, a).kappa == 1 and g.error_consistency(a, ~a).kappa < -0.4
    b = np.where(rng.random(4000) < 0.4, a, b)
    found = g.error_consistency(a, b)
    picks = rng.integers(0, 4000, (400, 4000))

    def kappa(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        expected = x.mean(1) * y.mean(1) + (1 - x.mean(1)) * (1 - y.mean(1))
        return ((x == y).mean(1) - expected) / (1 - expected)

    drawn = kappa(a[picks], b[picks])
    half = (found.high - found.low) / 2
    np.testing.assert_allclose(half, 1.96 * drawn.std(), rtol=0.12)
    np.testing.assert_allclose(found.kappa, kappa(a[None], b[None])[0], atol=1e-12)


@pytest.mark.slow
def test_a_psychometric_curve_is_found() -> None:
    level = np.linspace(-3, 3, 9)
    true = 0.5 + (1 - 0.5 - 0.05) / (1 + np.exp(-2 * (level - 0.5)))
    right = np.random.default_rng(1).binomial(4000, true)
    found = g.psychometric(level, right, np.full(9, 4000), guess=0.5, lapses=True)
    assert found.threshold_low < 0.5 < found.threshold_high and found.slope_low < 2 < found.slope_high
    assert abs(found.lapse - 0.05) < 0.01 and found.deviance < 20
    np.testing.assert_allclose(found(level), true, atol=0.02)
    assert found.records()[0]["guess"] == 0.5 and "share right" in found.figure().html


@pytest.mark.slow
def test_a_plain_curve_is_logistic_regression() -> None:
    level, right = np.arange(-2.0, 3), np.array([1, 4, 9, 16, 19])
    found = g.psychometric(level, right, np.full(5, 20))
    falling = g.psychometric(-level, right, np.full(5, 20))

    def loss(w: Any) -> Any:
        z = w[0] + w[1] * level
        return (20 * np.logaddexp(0, z) - right * z).sum()

    best = scipy.optimize.minimize(loss, [0, 1.0], tol=1e-10).x
    np.testing.assert_allclose([found.slope, found.threshold], [best[1], -best[0] / best[1]], atol=1e-4)
    np.testing.assert_allclose(
        [falling.slope, falling.threshold], [-found.slope, -found.threshold], atol=1e-4
    )
    z = best[0] + best[1] * level
    p = 1 / (1 + np.exp(-z))
    info = (20 * p * (1 - p) * np.stack([np.ones(5), level])[:, None] * np.stack([np.ones(5), level])).sum(-1)
    error = np.sqrt(np.linalg.inv(info)[1, 1])
    np.testing.assert_allclose(found.slope_high - found.slope, 1.96 * error, rtol=1e-3)


def test_surprisal_adds_what_it_explains() -> None:
    rng = np.random.default_rng(0)
    nats, length = rng.exponential(size=600), rng.normal(size=600)
    times = 200 + 20 * nats + 5 * length + 30 * rng.normal(size=600)
    found = g.surprisal_regression(times, nats, length, key=jax.random.key(0))
    assert 0 < found.low < found.delta < found.high and found.p < 0.01
    np.testing.assert_allclose(found.coefficients, [20], atol=5)
    # With normal errors the gain is half the log ratio of the variances that are left.
    np.testing.assert_allclose(found.delta, 0.5 * np.log((1 - found.r2_controls) / (1 - found.r2)), atol=0.01)
    chance = g.surprisal_regression(times, rng.exponential(size=600), length, key=jax.random.key(0))
    assert chance.delta < 0.005 and chance.low < 0
    moved = g.surprisal_regression(3 * times - 5, 2 * nats + 1, 4 - length, key=jax.random.key(0))
    # Densities of times in other units differ by a constant, which the difference does not have.
    np.testing.assert_allclose([moved.delta, moved.r2], [found.delta, found.r2], atol=1e-6)


def test_tuning_and_sparsity_of_planted_units() -> None:
    labels = np.repeat(np.arange(4), 5)
    x = np.stack([labels == 2, np.ones(20), labels, 1 + (labels == 0)], 1).astype(np.float32)
    found = g.tuning_curves(x, labels)
    np.testing.assert_allclose(found.mean[:, 2], [0, 1, 2, 3], atol=1e-6)
    np.testing.assert_allclose(found.selectivity, [1, 0, (3 - 1) / (3 + 1), 1 / 3], atol=1e-6)
    assert found.preferred[0] == 2 and (found.count == 5).all()
    np.testing.assert_allclose(found.error, 0, atol=1e-6)
    order = np.random.default_rng(0).permutation(20)
    again = g.tuning_curves(x[order], labels[order])
    np.testing.assert_allclose(again.mean, found.mean, atol=1e-6)
    np.testing.assert_allclose(g.sparsity(np.eye(4)), 1)
    np.testing.assert_allclose(g.sparsity(np.stack([np.ones(4), np.zeros(4)], 1)), [0, np.nan])
    np.testing.assert_allclose(g.sparsity(np.eye(4)[:1], over="units"), [1])


def test_mixed_selectivity_of_planted_units() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, 240), rng.integers(0, 2, 240)
    noise = rng.normal(size=(240, 6))
    planted = np.stack([0 * a, a, b, a + b, 2 * a * b, 0 * a], 1) + noise * [1, 1, 1, 1, 1, 0]
    found = g.mixed_selectivity(planted, a, b)
    assert found.kind.tolist() == [0, 1, 2, 3, 4, 0] and (found.p[:, 5] == 1).all()
    # The F of nested regressions, by least squares of indicators.
    hot = lambda z: np.eye(z.max() + 1)[z]
    left = lambda d: np.square(planted - d @ np.linalg.lstsq(d, planted, rcond=None)[0]).sum(0)
    both, cells = np.hstack([hot(a), hot(b)]), hot(2 * a + b)
    rest = 240 - 6
    f = (left(both) - left(cells))[:5] / 2 / (left(cells)[:5] / rest)
    np.testing.assert_allclose(found.f[2, :5], f, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.p[2, :5], scipy.stats.f.sf(f, 2, rest), rtol=1e-2, atol=1e-6)
    f = (left(hot(b)) - left(both))[:5] / 2 / (left(cells)[:5] / rest)
    np.testing.assert_allclose(found.f[0, :5], f, rtol=1e-3, atol=1e-3)
    assert found.records()[4]["kind"] == "nonlinear"


def test_bad_input_is_taught() -> None:
    x, few = np.ones((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    key = jax.random.key(0)
    words = np.arange(40.0)
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: g.error_consistency([True], [True]), "two or more"),
        (lambda: g.error_consistency([True] * 4, [True] * 4), "right on every trial"),
        (lambda: g.error_consistency([0.5] * 4, [True] * 4), "answers == targets"),
        (lambda: g.psychometric([0, 1], [1, 2], [3, 3]), "at least 3"),
        (lambda: g.psychometric([0, 1, 2], [1, 2, 4], [3, 3, 3]), "right <= trials"),
        (lambda: g.psychometric([0, 1, 2], [1, 1, 1], [3, 3, 3]), "same at every level"),
        (lambda: g.surprisal_regression(words, words[:5], key=key), r"\(40,\)"),
        (lambda: g.surprisal_regression(words[:9], words[:9], key=key), "too few"),
        (lambda: g.surprisal_regression(words, 0 * words, key=key), "vary"),
        (lambda: g.surprisal_regression(words * np.nan, words, key=key), "nan"),
        (lambda: g.tuning_curves(x, few.astype(float)), "return_inverse"),
        (lambda: g.tuning_curves(x, 2 * few), "Number them anew"),
        (lambda: g.tuning_curves(x, 0 * few), "two conditions"),
        (lambda: g.sparsity(-x), "not negative"),
        (lambda: g.sparsity(x[:1]), "two examples"),
        (lambda: g.mixed_selectivity(x, few, few), "2 pairs have none"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_planted_circle_is_read_and_set() -> None:
    rng = np.random.default_rng(0)
    t = 2 * np.pi * rng.integers(0, 7, 200) / 7
    ring = np.stack([np.cos(t), np.sin(t)], 1) @ rng.normal(size=(2, 16))
    x = (ring + 3 + 0.01 * rng.normal(size=(200, 16))).astype(np.float32)
    probe = g.circular_probe(x, t)
    assert (probe.r2 > 0.999).all()
    target = np.linspace(-3, 3, 9).astype(np.float32)
    away = lambda found: np.abs(np.angle(np.exp(1j * (np.asarray(found) - target)))).max()
    assert away(probe.angle(probe.state(target))) < 1e-3
    assert away(probe.angle(probe.state(target, x[:9]))) < 1e-3
    assert away(probe.angle(probe.state(target, mode="published"))) > 0.05  # the mean is not orthogonal
    centre = g.circular_probe(x - x.mean(0), t)
    assert away(centre.angle(centre.state(target, mode="published"))) < 1e-3
    np.testing.assert_allclose(probe.only(x) + probe.without(x), x + x.mean(0), atol=1e-4)
    np.testing.assert_allclose(probe.angle(probe.without(x)), np.full(200, probe.angle(x.mean(0))), atol=1e-3)
    noise = g.circular_probe(rng.normal(size=(200, 16)), t)
    assert (noise.r2 < 0.15).all() and len(noise.records()) == 2


@pytest.mark.wide
def test_a_ring_is_irreducible() -> None:
    t = np.random.default_rng(0).uniform(0, 2 * np.pi, 4000)
    ring = np.stack([np.cos(t), np.sin(t)], 1)
    found = g.irreducibility(ring)
    for scale in (1e-25, 1e25):
        other = g.irreducibility(scale * ring)
        assert np.allclose(other.separability, found.separability) and np.allclose(
            other.mixture, found.mixture
        )
    np.testing.assert_allclose(found.separability, 1.50, atol=0.05)
    np.testing.assert_allclose(found.mixture, 0.217, atol=0.02)
    assert found.separability_p is None and found.records()[0]["plane"] == 0


@pytest.mark.slow
def test_calibration_of_irreducibility() -> None:
    rng, n = np.random.default_rng(0), 20_000
    t = rng.uniform(0, 2 * np.pi, n)
    which, where = rng.integers(0, 2, n), rng.uniform(-1, 1, n)
    found = {
        "ring": np.stack([np.cos(t), np.sin(t)], 1),
        "normal": rng.normal(size=(n, 2)),
        "mixture": np.stack([np.where(which, where, 0), np.where(which, 0, where)], 1),
    }
    scores = {name: g.irreducibility(cloud) for name, cloud in found.items()}
    np.testing.assert_allclose(scores["ring"].separability, 1.50, atol=0.05)
    np.testing.assert_allclose(scores["ring"].mixture, 0.217, atol=0.01)
    assert scores["normal"].separability < 0.01
    np.testing.assert_allclose(scores["normal"].mixture, 0.0797, atol=0.01)
    assert scores["mixture"].mixture > 0.5
    cut = g.irreducibility(np.concatenate([found["normal"], [[100.0, 100.0]]]), clip=0.001)
    assert cut.separability < 0.02
    assert scores["ring"].score > scores["mixture"].score > scores["normal"].score


@pytest.mark.slow
def test_a_ring_stands_out_of_its_null_and_of_a_wider_space() -> None:
    rng = np.random.default_rng(0)
    t = 2 * np.pi * rng.integers(0, 7, 2000) / 7
    ring = np.stack([np.cos(t), np.sin(t)], 1) + 0.05 * rng.normal(size=(2000, 2))
    found = g.irreducibility(ring, key=jax.random.key(0))
    assert found.separability_p == 1 / 21 and found.separability > 1.5
    turned = g.irreducibility(2 * ring @ np.linalg.qr(rng.normal(size=(2, 2)))[0])
    np.testing.assert_allclose(turned.mixture, found.mixture, atol=0.02)
    np.testing.assert_allclose(turned.separability, found.separability, atol=0.05)
    wide = g.irreducibility(ring @ rng.normal(size=(2, 8)) + 0.01 * rng.normal(size=(2000, 8)))
    assert len(wide.separability) == 4 and wide.separability.argmax() == 0
    normal = g.irreducibility(rng.normal(size=(2000, 2)), key=jax.random.key(1))
    assert normal.separability_p > 0.04 and abs(normal.separability - normal.bias) < 0.02
