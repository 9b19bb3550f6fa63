"""The exact search agrees with trying every support, and claims no more than it proves."""

import itertools
from typing import Any

import numpy as np
import pytest

from jaxinterp import probes
from jaxinterp.stats.solvers import Problem, as_problem, solve


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, int, str, float | None]:
    """A random problem: n, d, k, loss, correlation, scale, noise and ridge all drawn."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(20, 120)), int(rng.integers(3, 15))
    k = int(rng.integers(1, min(4, d) + 1))
    loss = ("logistic", "hinge", "squared")[seed % 3]
    mix = rng.normal(size=(d, d)) * rng.uniform(0, 1) + np.eye(d)
    x = rng.normal(size=(n, d)) @ mix * rng.choice([0.3, 1.0, 5.0])
    y = x @ (rng.normal(size=d) * (rng.random(d) < 0.4)) + rng.normal(size=n) * rng.choice([0.1, 1, 5])
    if loss != "squared":
        y = (y > np.quantile(y, rng.uniform(0.2, 0.8))).astype(int)
    return x, y, k, loss, (None, 1.0, 10.0)[seed % 4 % 3]


def brute(problem: Problem, k: int) -> float:
    columns = range(problem.x.shape[1])
    return min(solve(problem, np.array(s)).value for s in itertools.combinations(columns, k))


def agrees(seed: int) -> None:
    x, y, k, loss, gamma = planted(seed)
    found = probes.best_subset(x, y, k, loss, gamma=gamma)
    best = brute(as_problem(x, y, loss, gamma, True, True), k)
    assert found.status == "optimal" and found.gap <= 1e-6, found
    assert abs(found.value - best) <= 2e-6 * best
    assert found.bound <= best * (1 + 1e-9)
    assert len(found.support) <= k and found.bound <= found.value


# Of the 200, the cheapest for every loss and k.
FAST = [
    0,
    3,
    11,
    12,
    17,
    24,
    25,
    29,
    30,
    32,
    34,
    36,
    44,
    53,
    56,
    60,
    65,
    67,
    81,
    83,
    85,
    88,
    91,
    102,
    103,
    111,
    112,
    113,
    127,
    136,
    142,
    149,
    150,
    152,
    160,
    162,
    164,
    171,
    172,
    173,
    177,
    187,
]


@pytest.mark.parametrize("part", range(4))
def test_brute_force_agrees(part: int) -> None:
    for seed in FAST[part::4]:
        agrees(seed)


# The default suite has the quick problems; ten of the others are enough in `.ci/run`.
@pytest.mark.slow
@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.exhaustive) for i in (1, 2))])
def test_brute_force_agrees_on_more(part: int) -> None:
    """Thirty of the 200 problems; `python tests/probes/test_subset.py` goes through all."""
    for seed in range(part, 200, 20):
        agrees(seed)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
def test_inexact_solves_and_interrupted_searches_stay_below_brute_force(loss: str) -> None:
    """Any feasible dual point is a bound: crude solves and no time weaken it, and never overstate."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 9)) @ (np.eye(9) + 0.4 * rng.normal(size=(9, 9)))
    y = x @ rng.normal(size=9) + rng.normal(size=60)
    y = y if loss == "squared" else y > 0
    best = brute(as_problem(x, y, loss, 1.0, True, True), 3)
    for inner_tol, limit in ((1e-1, 0.3), (1e-3, 0.3), (1e-10, 0), (1e-10, 0.05)):
        found = probes.best_subset(
            x, y, 3, loss, limit, gamma=1.0, settings=probes.SearchSettings(inner_tol=inner_tol)
        )
        assert 0 <= found.bound <= best * (1 + 1e-9) and found.value >= best * (1 - 1e-9)
        assert found.gap == (found.value - found.bound) / found.value
        assert (found.status == "optimal") == (found.gap <= 1e-6)
    found = probes.best_subset(x, y, 3, loss, gamma=1.0, time_limit=0)
    assert found.status == "time_limit" and found.gap > 1e-6


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
def test_any_repaired_dual_point_is_a_bound_for_every_support(loss: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6))
    y = np.where(rng.random(40) < 0.3, 1.0, -1.0)
    omega = rng.uniform(0.5, 2, size=40) if loss != "squared" else np.ones(40)
    problem = Problem(x, y, omega, 0.5, loss)
    supports = [np.array(s, int) for k in (0, 1, 2, 6) for s in itertools.combinations(range(6), k)]
    values = [solve(problem, s).value for s in supports]
    for _ in range(20):
        alpha = problem.repair(rng.normal(size=40) * 2)
        assert abs(alpha.sum()) < 1e-9
        q, h = problem.q(alpha), problem.h(alpha)
        assert all(q - h[s].sum() <= v + 1e-9 for s, v in zip(supports, values, strict=True))


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
def test_screening_changes_no_answer(loss: str) -> None:
    rng = np.random.default_rng(3)
    y = rng.random(100) < 0.3
    x = rng.normal(size=(100, 30))
    x[:, [5, 17]] += 2.0 * y[:, None]
    target = x[:, 5] + x[:, 17] + rng.normal(size=100) if loss == "squared" else y
    a = probes.best_subset(x, target, 2, loss)
    b = probes.best_subset(x, target, 2, loss, settings=probes.SearchSettings(screen=False))
    assert a.status == b.status == "optimal" and b.screened == 0
    np.testing.assert_allclose(a.value, b.value, rtol=2e-6)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
def test_duplicates_separable_data_and_columns_that_carry_nothing(loss: str) -> None:
    rng = np.random.default_rng(1)
    y = np.arange(40) % 3 == 0
    x = np.zeros((40, 6))
    x[:, 1] = x[:, 3] = np.where(y, 1.0, -1.0) + 0.1 * rng.normal(size=40)
    target = x[:, 1] if loss == "squared" else y
    for k in (1, 2):
        found = probes.best_subset(x, target, k, loss)
        best = brute(as_problem(x, target, loss, None, True, True), k)
        assert found.status == "optimal"
        np.testing.assert_allclose(found.value, best, rtol=2e-6)
    assert {1, 3} & set(found.support.tolist())
    if loss != "squared":
        np.testing.assert_array_equal(found.predict(x), y)


@pytest.mark.slow
def test_several_k_share_cuts_and_give_the_same_values() -> None:
    rng = np.random.default_rng(5)
    y = rng.random(120) < 0.4
    x = rng.normal(size=(120, 20))
    x[:, [3, 8]] += [1.5, 1.0] * y[:, None]
    several = probes.best_subsets(x, y, [1, 2])
    alone = {k: probes.best_subset(x, y, k) for k in (1, 2)}
    assert list(several) == [1, 2]
    for k, found in several.items():
        assert found.status == "optimal"
        np.testing.assert_allclose(found.value, alone[k].value, rtol=2e-6)
    assert several[1].value >= several[2].value


@pytest.mark.slow
def test_thousands_of_columns_are_proven_out() -> None:
    """Planted neurons among 1,500, as the paper's synthetic benchmark draws them."""
    rng = np.random.default_rng(0)
    y = rng.random(800) < 0.25
    true = [7, 400, 1403]
    x = rng.normal(size=(800, 1500))
    x[:, true] += y[:, None]
    x = x / (1 + np.exp(-1.702 * x))
    found = probes.best_subset(x, y, 3)
    assert found.status == "optimal" and found.support.tolist() == true, found


def test_predictions_and_the_objective_are_those_of_the_weights() -> None:
    rng = np.random.default_rng(2)
    x, target = rng.normal(size=(50, 5)), rng.normal(size=50)
    found = probes.best_subset(x, target, 2, "squared")
    m = x[:, found.support] @ found.weights + found.bias
    np.testing.assert_allclose(found.predict(x), m)
    objective = ((target - m) ** 2).sum() + found.weights @ found.weights / found.gamma
    np.testing.assert_allclose(found.value, objective / 100)
    assert "support=" in repr(found)
    with pytest.raises(ValueError, match="reads d=5 features"):
        found.predict(x[:, :4])


GOOD = np.arange(20.0).reshape(10, 2) % 7
HALF = np.arange(10) % 2


@pytest.mark.parametrize(
    ("x", "y", "options", "says"),
    [
        (GOOD, np.zeros(10), {}, "each of the 10 labels is 0"),
        (GOOD, HALF[:9], {}, "one label per example"),
        (GOOD, np.arange(10), {}, "Labels are 0 or 1"),
        (np.where(GOOD == 3, np.nan, GOOD), HALF, {}, "Activations are finite"),
        (np.where(GOOD == 3, np.inf, GOOD), HALF, {}, "Activations are finite"),
        (GOOD, HALF, {"k": 0}, "1..2"),
        (GOOD, HALF, {"k": 3}, "1..2"),
        (np.ones((3, 9)), np.array([0, 1, 1]), {"k": 4}, "fewer examples"),
        (GOOD[None], HALF, {}, "For many layers call it per layer"),
        (GOOD, HALF, {"loss": "log"}, "loss is one of"),
        (GOOD, HALF, {"gamma": 0}, "inverse of the ridge"),
        (GOOD, HALF, {"settings": probes.SearchSettings(start=[0, 1]), "k": 1}, "more than k=1"),
        (GOOD, np.full(10, np.nan), {"loss": "squared"}, "Targets are finite"),
    ],
)
def test_bad_input_is_told(x: Any, y: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        probes.best_subset(x, y, **{"k": 1, **options})


if __name__ == "__main__":
    for seed in range(200):
        agrees(seed)
    print("brute force agrees on 200 problems")
