"""The table of invariances: what each measure ignores to 1e-5, and what it does not, under jit, vmap and grad."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp._jax_versions import enable_x64

RNG = np.random.default_rng(3)
X = RNG.normal(size=(24, 4)) * [1.0, 1.3, 0.8, 1.1]
Y = X @ RNG.normal(size=(4, 5)) + RNG.normal(size=(24, 5))
TURN = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
BEND = np.eye(4) + 0.3 * RNG.normal(size=(4, 4))
CHANGED = {
    "itself": X,
    "orthogonal": X @ TURN,
    "scale": 2.5 * X,
    # Squares of these leave the range of float32.
    "small": 1e-25 * X,
    "large": 1e25 * X,
    "linear": X @ BEND,
    "translation": X + np.array([1.0, -2.0, 0.5, 3.0]),
    "rows": X * RNG.uniform(0.5, 2, (24, 1)) + RNG.normal(size=(24, 1)),
}
g = ji.geometry
MEASURES: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "cka": (g.cka, {"orthogonal", "scale", "translation"}),
    "unbiased_cka": (lambda x, y: g.cka(x, y, unbiased=True), {"orthogonal", "scale", "translation"}),
    "rbf": (lambda x, y: g.cka(x, y, kernel="rbf"), {"orthogonal", "scale", "translation"}),
    "procrustes": (g.procrustes, {"orthogonal", "scale", "translation"}),
    "cca": (lambda x, y: g.cca(x, y).mean(), {"orthogonal", "scale", "translation", "linear"}),
    "svcca_all": (
        lambda x, y: g.svcca(x, y, variance=1.0),
        {"orthogonal", "scale", "translation", "linear"},
    ),
    "svcca": (lambda x, y: g.svcca(x, y, variance=0.7), {"orthogonal", "scale", "translation"}),
    "pwcca": (lambda x, y: g.pwcca(y, x), {"orthogonal", "scale", "translation", "linear"}),
    "predictivity": (lambda x, y: g.predictivity(x, y).r2, {"orthogonal", "scale", "translation"}),
    "rsa": (lambda x, y: g.rsa(x, y, comparison="pearson"), {"scale", "rows"}),
    "rsa_euclidean": (
        lambda x, y: g.rsa(x, y, distance="euclidean", comparison="pearson"),
        {"orthogonal", "scale", "translation"},
    ),
    "participation_ratio": (
        lambda x, y: g.participation_ratio(x),
        {"orthogonal", "scale", "translation"},
    ),
    "two_nn": (lambda x, y: g.two_nn(x), {"orthogonal", "scale", "translation"}),
    "anisotropy": (lambda x, y: g.anisotropy(x), {"orthogonal", "scale"}),
}
DEFAULT = ("cka", "procrustes", "cca", "rsa")


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in MEASURES]
)
def test_what_a_measure_ignores(name: str) -> None:
    measure, ignored = MEASURES[name]
    sides = jnp.asarray(np.stack(list(CHANGED.values())), jnp.float32)
    y = jnp.asarray(Y, jnp.float32)
    found = dict(zip(CHANGED, np.asarray(jax.jit(jax.vmap(measure, (0, None)))(sides, y))))
    for change, value in found.items():
        off = abs(value - found["itself"])
        # A dimension is a number like 4, and rounds like one.
        within = 1e-5 * max(1, abs(found["itself"]))
        kind = "scale" if change in ("small", "large") else change
        assert off < within if kind in ignored | {"itself"} else off > 1e-3, (change, off)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in MEASURES if n != "predictivity"])
def test_slopes_are_those_of_differences(name: str) -> None:
    measure, _ = MEASURES[name]
    with enable_x64(True):
        x, y, way = jnp.asarray(X), jnp.asarray(Y), jnp.asarray(np.random.default_rng(5).normal(size=X.shape))
        slope = (jax.grad(measure)(x, y) * way).sum()
        step = 1e-5
        rise = (measure(x + step * way, y) - measure(x - step * way, y)) / (2 * step)
        np.testing.assert_allclose(slope, rise, rtol=1e-4, atol=1e-6)
        assert rise.dtype == jnp.float64


def test_features_and_grams_agree_and_independence_has_no_bias() -> None:
    x, y = RNG.normal(size=(2, 400, 40)).astype(np.float32)
    from jaxinterp.geometry._cka import feature_hsic
    from jaxinterp.stats._hsic import biased_hsic, unbiased_hsic

    kx, ky = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
    there = jnp.ones(400, bool)
    for unbiased, of in ((False, biased_hsic), (True, unbiased_hsic)):
        by_gram = of(jnp.asarray(kx)[None], jnp.asarray(ky)[None], there)[0, 0]
        own = of(jnp.asarray(kx)[None], jnp.asarray(kx)[None], there)[0, 0]
        by_features = feature_hsic(jnp.asarray(x), jnp.asarray(y), unbiased)
        np.testing.assert_allclose(by_gram / own, by_features / own, atol=1e-5)
    few = np.random.default_rng(1).normal(size=(2, 40, 40))
    assert g.cka(*few) > 0.3 and abs(g.cka(*few, unbiased=True)) < 0.1
    x, y = jnp.asarray(few, jnp.float32)
    wide = g.procrustes(x[:5], y[:5])  # from five by five
    plain = 2 - 2 * np.linalg.svd(unit(few[0][:5]).T @ unit(few[1][:5]), compute_uv=False).sum()
    np.testing.assert_allclose(wide, plain, atol=1e-5)


def test_kendall_takes_more_pairs_of_entries_than_an_int32_counts() -> None:
    many = jax.ShapeDtypeStruct((400, 400), jnp.float32)
    assert jax.eval_shape(lambda a, b: g.compare_rdms(a, b, comparison="kendall"), many, many).shape == ()


@pytest.mark.slow
def test_planted_clusters_are_alike_and_shuffled_ones_are_not() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(4, 10))
    x = np.repeat(centres, 4, 0) + 0.3 * rng.normal(size=(16, 10))
    y = np.repeat(centres @ rng.normal(size=(10, 12)), 4, 0) + 0.3 * rng.normal(size=(16, 12))
    a, b = g.rdm(x), g.rdm(y)
    np.testing.assert_allclose(g.compare_rdms(a, a), 1, atol=1e-6)
    np.testing.assert_allclose(g.compare_rdms(a, np.exp(a), comparison="kendall"), 1, atol=1e-6)
    found = g.rsa_test(a, b, key=jax.random.key(0), resamples=200)
    assert found.p == 1 / 201 and abs(found.null.mean()) < 0.05 and found.similarity > 0.5
    np.testing.assert_allclose(found.similarity, g.rsa(x, y), atol=1e-6)
    assert len(found.records()) == 1 and "p = 0.005" in found.figure().html
    ceiling = g.noise_ceiling([a, a, a])
    np.testing.assert_allclose([ceiling.low, ceiling.high], 1, atol=1e-6)
    alone = [
        g.rsa_test(g.rdm(u), g.rdm(v), key=jax.random.key(i), resamples=99).p
        for i, (u, v) in enumerate(rng.normal(size=(20, 2, 16, 6)))
    ]
    assert 0.25 < np.mean(alone) < 0.75  # uniform: the mean of 20 is within 0.25 of a half
    # Without noise the crossed distance is Mahalanobis' over the number of units.
    precision = np.linalg.inv(np.cov(rng.normal(size=(30, 10)).T))
    gap = x[0] - x[5]
    exact = g.crossnobis(np.stack([x, x, x]), precision=precision)[0, 5]
    np.testing.assert_allclose(exact, gap @ precision @ gap / 10, rtol=1e-4)


def unit(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    return x / np.linalg.norm(x)


def test_bad_input_is_taught() -> None:
    x, y = X.astype(np.float32), Y.astype(np.float32)
    nan = np.where(np.arange(24)[:, None] == 2, np.nan, x)
    constant = x * [1, 1, 0, 1]
    doubled = np.concatenate([x, x[:, :1]], 1)
    t = np.arange(24) / 4
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: g.cka(x, y[:5]), "24 rows and 5"),
        (lambda: g.cka(x[:1], y[:1]), "at least 2 rows"),
        (lambda: g.cka(x[:3], y[:3], unbiased=True), "at least 4 rows"),
        (lambda: g.cka(x[:, 0], y), r"x\[:, None\]"),
        (lambda: g.cka(nan, y), r"x\[2, 0\] is nan"),
        (lambda: g.cka(x * 0, y), "Every row of x is the same"),
        (lambda: g.cca(constant, y), "column 2 never varies"),
        (lambda: g.pwcca(doubled, y), "rank 4 of 5"),
        (lambda: g.cca(x[:4], y[:4]), "more than 4 rows"),
        (lambda: g.svcca(x, y, variance=1.5), "variance is a number"),
        (lambda: g.rdm(constant * 0 + 1), "Row 0 of x is all units equal"),
        (lambda: g.rdm(x * 0, distance="cosine"), "0 everywhere"),
        (lambda: g.rsa(x[:2], y[:2]), "at least 3 rows"),
        (lambda: g.compare_rdms(x, y), "ji.geometry.rdm"),
        (lambda: g.compare_rdms(np.ones((3, 3)), np.ones((3, 3))), "All dissimilarities of a are equal"),
        (lambda: g.compare_rdms(x[:4], x[:4]), "symmetric"),
        (lambda: g.noise_ceiling([g.rdm(x)]), "two subjects"),
        (lambda: g.rsa_test(g.rdm(x), g.rdm(y), key=0), "jax.random.key"),  # pyright: ignore
        (lambda: g.rsa_test(g.rdm(x), g.rdm(y), key=jax.random.key(0), resamples=0), "1 or more"),
        (lambda: g.crossnobis(x[None]), "two folds or more"),
        (lambda: g.crossnobis(np.stack([x, x]), precision=np.eye(3)), r"\(4, 4\)"),
        (lambda: g.predictivity(x[:6], y[:6]), "folds=3"),
        (lambda: g.predictivity(x, y, penalties=[0.0]), "positive"),
        (lambda: g.two_nn(np.concatenate([x, x])), "np.unique"),
        (lambda: g.anisotropy(x * (t > 0)[:, None]), "row 0 of x"),
        (lambda: g.circular_probe(x, t[:5]), r"angle is \(24,\)"),
        (lambda: g.circular_probe(x, t * 0), "span no circle"),
        (lambda: g.circular_probe(x[:5], t[:5]), "more than 5 rows|components=2"),
        (lambda: g.circular_probe(np.outer(t, [1, 2]), t, components=2), "on one line"),
        (lambda: g.irreducibility(x), "at least 100 rows"),
        (lambda: g.irreducibility(np.outer(np.arange(200), [1, 2])), "one line"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
