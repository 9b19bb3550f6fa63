"""Systems with known equations: runs of fourth order, and libraries that hold the truth."""

import math
from typing import Any

import numpy as np
import pytest

from jaxinterp import toy
from jaxinterp.toy._dynamics import SYSTEMS


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_velocity_is_the_library_times_the_true_coefficients(name: str) -> None:
    system = toy.dynamics(name)
    z = np.random.default_rng(0).normal(size=(50, len(system.variables)))
    theta, terms = toy.polynomials(z, 3)
    assert theta.shape[1] == len(terms) == math.comb(z.shape[1] + 3, 3)
    np.testing.assert_allclose(theta @ system.coefficients(terms).T, system.velocity(z), atol=1e-12)
    assert np.count_nonzero(system.coefficients(terms)) == sum(map(len, system.equations))


@pytest.mark.parametrize("name", SYSTEMS)
def test_half_the_step_is_a_sixteenth_of_the_error(name: str) -> None:
    system = toy.dynamics(name)
    fine, half, full = (system.simulate(int(0.4 / dt) + 1, dt)[-1] for dt in (5e-4, 0.01, 0.02))
    ratio = np.linalg.norm(full - fine) / np.linalg.norm(half - fine)
    assert 11 < ratio < 23, ratio


@pytest.mark.quick
def test_equations_written_out_by_hand() -> None:
    x, y, z = 1.5, -2.0, 20.0
    found = toy.dynamics("lorenz", rho=30.0).velocity([x, y, z])
    np.testing.assert_allclose(found, [10 * (y - x), x * (30 - z) - y, x * y - 8 / 3 * z])
    r2 = x * x + y * y
    found = toy.dynamics("hopf", mu=0.3, omega=2.0, a=0.5).velocity([x, y])
    np.testing.assert_allclose(found, [0.3 * x - 2 * y - x * r2 / 2, 2 * x + 0.3 * y - y * r2 / 2])
    found = toy.dynamics("rossler").velocity([x, y, z])
    np.testing.assert_allclose(found, [-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)])


@pytest.mark.quick
def test_several_runs_at_once_are_the_runs_alone() -> None:
    system = toy.dynamics("duffing")
    starts = np.array([[1.0, 0.0], [-0.5, 2.0]])
    together = system.simulate(30, 0.05, starts)
    for i, start in enumerate(starts):
        np.testing.assert_allclose(together[:, i], system.simulate(30, 0.05, start), rtol=1e-12)


def test_terms_are_named_by_what_they_are() -> None:
    z = np.array([[2.0, 3.0]])
    theta, terms = toy.polynomials(z, 3)
    assert terms == ["1", "x", "y", "x^2", "x y", "y^2", "x^3", "x^2 y", "x y^2", "y^3"]
    assert theta[0].tolist() == [1, 2, 3, 4, 6, 9, 8, 12, 18, 27]
    assert toy.polynomials(np.ones((1, 4)), 1)[1] == ["1", "z0", "z1", "z2", "z3"]


def test_slopes_of_polynomials_in_time_are_exact_and_noise_is_smoothed() -> None:
    t = np.arange(60)[:, None] * 0.1
    z = 1 - 2 * t + 0.5 * t**3 - 0.1 * t**4
    np.testing.assert_allclose(toy.derivatives(z, 0.1), -2 + 1.5 * t**2 - 0.4 * t**3, atol=1e-8)
    np.testing.assert_allclose(toy.smooth(z, window=9), z, atol=1e-8)
    central = toy.derivatives(z, 0.1, window=3, order=2)[1:-1]
    np.testing.assert_allclose(central, (z[2:] - z[:-2]) / 0.2, atol=1e-9)
    noisy = np.sin(t) + 0.01 * np.random.default_rng(0).normal(size=t.shape)
    few, many = (toy.derivatives(noisy, 0.1, window=w, order=2) - np.cos(t) for w in (3, 9))
    assert np.std(many[5:-5]) < np.std(few[5:-5]) / 2


def test_recovery_counts_terms_and_errors() -> None:
    found = toy.recovery([[2.0, 0.0, -1.0]], [[2.0, 0.5, 0.0]])
    assert found == {"tpr": 1 / 3, "error": pytest.approx(1.25 / 5), "exact": 0.0}
    assert toy.recovery([1.0, 0.0], [1.0, 0.0]) == {"tpr": 1.0, "error": 0.0, "exact": 1.0}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: toy.dynamics("chua"), "dynamics is one of 'lorenz'"),
        (lambda: toy.dynamics("hopf", rho=1.0), "hopf has the parameters mu, omega, a"),
        (lambda: toy.dynamics("hopf").velocity(np.ones(3)), "variables x, y"),
        (lambda: toy.dynamics("hopf").simulate(0, 0.1), "steps >= 1"),
        (lambda: toy.dynamics("hopf").coefficients(["x", "y"]), "raise the degree"),
        (lambda: toy.polynomials(np.ones(3)), "axes"),
        (lambda: toy.polynomials(np.ones((2, 2)), 1, ("x",)), "2 variables"),
        (lambda: toy.derivatives(np.ones(50), 0.1, window=10), "A window is odd"),
        (lambda: toy.smooth(np.ones(5)), "A window is odd"),
        (lambda: toy.recovery([0.0], [1.0]), "not all true ones zero"),
    ],
)
def test_bad_input_is_told(wrong: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()
