"""Exact sparse regression: constraints, dynamics, and the arithmetic behind both."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest

from jaxinterp import probes, toy
from jaxinterp.probes.exact._columns import Columns
from jaxinterp.probes.exact._cuts import _program, relax
from jaxinterp.probes.exact._gram import Gram, Point
from jaxinterp.probes.exact._subset import _searched
from jaxinterp.stats.solvers import as_problem, solve


def constrained(seed: int) -> tuple[Any, ...]:
    """A random regression with one or two constraints on two or three weights each."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(20, 100)), int(rng.integers(4, 10))
    k = int(rng.integers(2, min(4, d) + 1))
    mix = rng.normal(size=(d, d)) * rng.uniform(0, 1) + np.eye(d)
    x = rng.normal(size=(n, d)) @ mix * rng.choice([0.3, 1.0, 5.0])
    y = x @ (rng.normal(size=d) * (rng.random(d) < 0.4)) + rng.normal(size=n)
    c = np.zeros((int(rng.integers(1, 3)), d))
    for row in c:
        some = rng.choice(d, int(rng.integers(2, 4)), replace=False)
        row[some] = rng.normal(size=len(some))
    e = rng.normal(size=len(c)) * (seed % 3 > 0)
    return x, y, k, (1.0, 1e4, None)[seed % 3], bool(seed % 2), c, e


def brute(x: Any, y: Any, k: int, gamma: float, intercept: bool, c: Any, e: Any) -> float:
    """Every support, solved on the null space of its constraints by another library call."""
    n, d = x.shape
    x, y = (x - x.mean(0), y - y.mean()) if intercept else (x, y)
    best = np.inf
    for support in itertools.combinations(range(d), k):
        own = c[:, support]
        base = np.linalg.lstsq(own, e, rcond=None)[0]
        if np.abs(own @ base - e).max() > 1e-9:
            continue
        _, sizes, rows = np.linalg.svd(own)
        free = rows[int((sizes > 1e-10).sum()) :].T
        a = np.concatenate([x[:, support], np.eye(k) / gamma**0.5])
        b = np.concatenate([y, np.zeros(k)])
        w = base
        if free.shape[1]:
            w = base + free @ np.linalg.lstsq(a @ free, b - a @ base, rcond=None)[0]
        best = min(best, float(((a @ w - b) ** 2).sum() / (2 * n)))
    return best


@pytest.mark.parametrize("at_once", [100_000, 0])
def test_constraints_hold_and_the_optimum_is_that_of_brute_force(at_once: int, monkeypatch: Any) -> None:
    """By trying all supports, and by the tree alone."""
    monkeypatch.setattr(Gram, "at_once", at_once)
    for seed in range(16 if at_once else 8):
        x, y, k, gamma, intercept, c, e = constrained(seed)
        best = brute(x, y, k, gamma or len(x) ** -0.5, intercept, c, e)
        found = probes.best_subset(x, y, k, "squared", gamma=gamma, equal=(c, e), intercept=intercept)
        assert found.status == "optimal" and found.gap <= 1e-6, (seed, found)
        assert abs(found.value - best) <= 2e-6 * best, (seed, found, best)
        assert found.bound <= best * (1 + 1e-9)
        w = np.zeros(x.shape[1])
        w[found.support] = found.weights
        assert np.abs(c @ w - e).max() <= 1e-8


@pytest.mark.slow
def test_the_tree_alone_finds_what_all_supports_show(monkeypatch: Any) -> None:
    monkeypatch.setattr(Gram, "at_once", 0)
    for seed in range(6):
        x, y, k, gamma, intercept, *_ = constrained(seed)
        found = probes.best_subset(x, y, k, "squared", gamma=gamma, intercept=intercept)
        problem = as_problem(x, y, "squared", gamma, True, intercept)
        every = itertools.combinations(range(x.shape[1]), k)
        best = min(solve(problem, np.array(support)).value for support in every)
        assert found.status == "optimal" and abs(found.value - best) <= 2e-6 * best, (seed, found)
        assert found.bound <= best * (1 + 1e-9)


@pytest.mark.slow
def test_products_made_when_needed_and_columns_proven_out(monkeypatch: Any) -> None:
    """Of 300 columns the best two, beside a formula over all pairs; by the tree alone."""
    monkeypatch.setattr(Gram, "at_once", 0)
    rng = np.random.default_rng(0)
    n, d = 150, 300
    x = rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(n, 1)) + 1.0
    y = x[:, 20] - x[:, 220] + 1.5 * rng.normal(size=n)
    found = probes.best_subset(x, y, 2, "squared", gamma=0.05)
    z, t = x - x.mean(0), y - y.mean()
    g, r = z.T @ z, z.T @ t
    own = np.diag(g) + 1 / 0.05
    i, j = np.triu_indices(d, 1)
    gain = own[j] * r[i] ** 2 - 2 * g[i, j] * r[i] * r[j] + own[i] * r[j] ** 2
    values = (t @ t - gain / (own[i] * own[j] - g[i, j] ** 2)) / (2 * n)
    at = int(np.argmin(values))
    assert found.status == "optimal" and found.support.tolist() == [i[at], j[at]]
    np.testing.assert_allclose(found.value, values[at], rtol=1e-9)
    assert found.bound <= values[at] * (1 + 1e-12)
    several = probes.best_subsets(x, y, [1, 2], "squared", gamma=0.05)
    assert several[2].support.tolist() == found.support.tolist()
    least = ((t @ t - r**2 / own) / (2 * n)).min()
    np.testing.assert_allclose(several[1].value, least, rtol=1e-9)


@pytest.mark.slow
def test_any_weights_and_multipliers_bound_every_support() -> None:
    """So do the regressions without one column; and fewer columns leave the cuts as they are."""
    x, y, _, gamma, intercept, c, e = constrained(4)
    problem = as_problem(x, y, "squared", gamma, True, intercept)
    searched = _searched(problem, c, e)
    assert isinstance(searched, Gram)
    d = searched.d
    supports = [np.array(s) for k in (1, 3, d) for s in itertools.combinations(range(d), k)]
    values = [searched.solve(support).value for support in supports]
    rng = np.random.default_rng(0)
    alive = np.array([0, 2, 3, d - 1])
    for _ in range(10):
        point = Point(np.array([0, 3]), rng.normal(size=2), rng.normal(size=len(e)))
        q, h = searched.cut(point)
        assert all(q - h[s].sum() <= v + 1e-9 for s, v in zip(supports, values, strict=True))
        fewer = searched.keep(alive).cut(Point(np.array([0, 2]), point.w, point.nu))
        np.testing.assert_allclose(fewer[0], q)
        np.testing.assert_allclose(fewer[1], h[alive])
    whole, each = searched.without(np.arange(d))
    assert all(whole <= v * (1 + 1e-9) for v in values)
    for j in range(d):
        assert all(each[j] <= v * (1 + 1e-9) for s, v in zip(supports, values) if j not in s)


@pytest.mark.slow
def test_columns_that_enter_the_linear_program_late_change_nothing() -> None:
    rng = np.random.default_rng(0)
    h = rng.exponential(size=(12, 400)) ** 2
    q = 3 + rng.random(12)
    shares, mixture = relax(q, h, 3, 1.0, 60.0, np.zeros(400, bool)) or (None, None)
    direct = _program(q, h, 3, 1.0, 60.0)
    assert direct is not None and mixture is not None and shares is not None
    values = [float((q - h @ s).max()) for s in (shares, direct[0])]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-7)
    assert abs(mixture.sum() - 1) < 1e-9 and shares.sum() <= 3 + 1e-7


def test_products_on_a_device_are_those_of_numpy(monkeypatch: Any) -> None:
    """The accelerator's way, here taken on the CPU: float64, the same optimum and bound."""
    rng = np.random.default_rng(0)
    x, some = rng.normal(size=(30, 7)), rng.normal(size=(5, 30))
    device, host = Columns(x, device=True), Columns(x, device=False)
    np.testing.assert_allclose(device.products(some), host.products(some), rtol=1e-13, atol=1e-13)
    kept = device.keep(np.array([1, 4]))
    assert kept.device and kept.products(some).shape == (5, 2)
    y = x[:, 2] - x[:, 5] + 0.3 * rng.normal(size=30)
    before = {
        loss: probes.best_subset(x, y if loss == "squared" else y > 0, 2, loss)
        for loss in ("squared", "logistic")
    }
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert Columns(x).device
    for loss, a in before.items():
        b = probes.best_subset(x, y if loss == "squared" else y > 0, 2, loss)
        assert b.status == "optimal" and a.support.tolist() == b.support.tolist() == [2, 5]
        np.testing.assert_allclose([a.value, a.bound], [b.value, b.bound], rtol=1e-9)


def test_no_threshold_beats_the_optimum() -> None:
    """T2: twenty regressions, the weak ridge of thresholded least squares in both."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(60, 9)) @ (np.eye(9) + 0.5 * rng.normal(size=(9, 9)))
        y = x @ (rng.normal(size=9) * (rng.random(9) < 0.5)) + 0.3 * rng.normal(size=60)
        problem = as_problem(x, y, "squared", 1e6, True, False)
        loose = probes.stlsq(x, y, 0.2)
        k = max(1, len(loose.support))
        exact = probes.best_subset(x, y, k, "squared", gamma=1e6, intercept=False)
        step = probes.ssr(x, y, k)
        every = itertools.combinations(range(9), k)
        best = min(solve(problem, np.array(support)).value for support in every)
        assert exact.status == "optimal"
        np.testing.assert_allclose(exact.value, best, rtol=2e-6)
        assert exact.value <= loose.value * (1 + 1e-6) and exact.value <= step.value * (1 + 1e-6)
        assert (np.abs(loose.weights) >= 0.2).all() and len(step.support) == k


def test_lorenz_from_exact_derivatives() -> None:
    """T1: the right terms among 10, coefficients within 1e-3, proven."""
    system = toy.dynamics("lorenz")
    z = system.simulate(5000, 0.002)
    theta, terms = toy.polynomials(z)
    found = probes.best_system(theta, system.velocity(z), (2, 3, 2))
    true = system.coefficients(terms)
    assert found.status == "optimal" and found.gap <= 1e-6
    assert toy.recovery(true, found.weights)["exact"] == 1
    assert np.abs(found.weights - true).max() < 1e-3
    assert found.equations(terms)[0] == "-10 x + 10 y"
    np.testing.assert_allclose(found.predict(theta), system.velocity(z), atol=1e-3)


def test_a_constraint_across_equations_holds() -> None:
    """T3: the rotation of the Hopf normal form is antisymmetric, and noise does not change that."""
    system = toy.dynamics("hopf")
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    theta, terms = toy.polynomials(z, 3)
    y = system.velocity(z) + 0.3 * rng.normal(size=z.shape)
    c = np.zeros((1, 2, len(terms)))
    c[0, 0, terms.index("y")] = c[0, 1, terms.index("x")] = 1  # xi_a + xi_b = 0
    free = probes.best_system(theta, y, 8)
    tied = probes.best_system(theta, y, 8, equal=(c, [0.0]))
    assert free.status == tied.status == "optimal"
    assert abs((c * tied.weights).sum()) <= 1e-8 < abs((c * free.weights).sum())
    assert tied.value >= free.value * (1 - 1e-9)
    each = np.zeros((1, 2, len(terms)))
    each[0, 1, terms.index("y^3")] = 1
    held = probes.best_system(theta, y, (4, 4), equal=(each, [-1.0]))
    assert abs(held.weights[1, terms.index("y^3")] + 1) <= 1e-8
    with pytest.raises(ValueError, match="ties several targets"):
        probes.best_system(theta, y, (4, 4), equal=(c, [0.0]))


@pytest.mark.slow
def test_the_number_of_terms_is_found_in_noise() -> None:
    """T4: 1% noise, derivatives by smoothing; AICc on another run takes 2, 3 and 2 terms."""
    system, dt, window = toy.dynamics("lorenz"), 0.002, 31
    runs = [system.simulate(5000, dt, start) for start in (system.start, (5.0, 5.0, 20.0))]
    rms = np.sqrt((runs[0] ** 2).mean())
    right = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        data = []
        for run in runs:
            z = run + 0.01 * rms * rng.normal(size=run.shape)
            v = toy.derivatives(z, dt, window=window)[window:-window]
            data.append((toy.polynomials(toy.smooth(z, window=window)[window:-window])[0], v))
        # Errors within a window are one error; AICc counts independent ones.
        (theta, v), (held, held_v) = data[0], (part[::window] for part in data[1])
        ks = []
        for j in range(3):
            path = probes.best_subsets(theta, v[:, j], range(1, 7), "squared", gamma=1e6, intercept=False)
            ks.append(probes.choose_k(path, held, held_v[:, j]))
        right += ks == [2, 3, 2]
    assert right >= 8, right


def test_the_criterion_is_what_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    y = x[:, 1] - 2 * x[:, 4] + 0.1 * rng.normal(size=40)
    path = probes.best_subsets(x, y, [1, 2, 3], "squared", gamma=1e6, intercept=False)
    rss = ((y - path[2].predict(x)) ** 2).sum()
    expected = 40 * np.log(rss / 40) + 4 + 2 * 3 * 4 / 36
    assert probes.aicc(x, y, path[2]) == pytest.approx(expected)
    assert probes.choose_k(path, x, y) == 2
    assert probes.stlsq(x, y, 0.5).support.tolist() == [1, 4] == probes.ssr(x, y, 2).support.tolist()
    nothing = probes.stlsq(x, y, 99.0)
    assert not len(nothing.support) and not nothing.predict(x).any()


SMALL = np.arange(24.0).reshape(8, 3) % 5
ROW = np.array([[1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"equal": (ROW[:, :2], [0.0])}, r"C \(m, 3\) and e \(m,\)"),
        ({"equal": (ROW, [0.0, 1.0])}, "equal=.C, e. says"),
        ({"equal": 3}, "equal=.C, e. says"),
        ({"equal": (ROW * np.nan, [0.0])}, "finite"),
        ({"equal": (ROW * 0, [1.0])}, "Row 0 of C is zero"),
        ({"equal": (np.concatenate([ROW, ROW]), [0.0, 1.0])}, "contradict"),
        ({"equal": (np.eye(3), np.ones(3)), "k": 2}, "this is proven"),
        ({"equal": (np.eye(3), np.ones(3)), "k": 2, "time_limit": 0}, "more time"),
        ({"loss": "logistic", "equal": (ROW, [0.0])}, "for regression"),
    ],
)
def test_bad_constraints_are_told(options: dict[str, Any], says: str) -> None:
    y = np.arange(8) % 2
    with pytest.raises(ValueError, match=says):
        probes.best_subset(SMALL, y, **{"k": 1, "loss": "squared", **options})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: probes.best_system(SMALL, np.ones(8), 2), "axes .n, targets."),
        (lambda: probes.best_system(SMALL, np.ones((8, 2)), (1, 1, 1)), "one number per target"),
        (lambda: probes.stlsq(SMALL, np.ones(8), -1), "0 or more"),
        (lambda: probes.choose_k({}, SMALL, np.ones(8)), "empty"),
        (lambda: probes.aicc(SMALL[:3], np.ones(3), probes.ssr(SMALL, np.ones(8), 2)), "k . 2"),
    ],
)
def test_bad_systems_are_told(wrong: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()
