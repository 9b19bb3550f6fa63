"""Dynamical systems whose equations are known, and the polynomial terms to find them with."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..typing import ArrayLike

Terms = dict[str, float]


@dataclass(frozen=True)
class Dynamics:
    """A system $\\dot z = f(z)$ of polynomials; made by `dynamics`.

    - `name`: the name of the system.
    - `variables`: the names of the variables.
    - `equations`: for each variable its terms with their coefficients; terms are named as in `polynomials`.
    - `start`: a state on or near the attractor.

    ```python
    system = ji.toy.dynamics("lorenz")
    system.equations[2]                                 # {"x y": 1.0, "z": -8/3}
    z = system.simulate(steps=100, dt=0.002)            # (100, 3)
    ```
    """

    name: str
    variables: tuple[str, ...]
    equations: tuple[Terms, ...]
    start: tuple[float, ...]

    def velocity(self, z: ArrayLike) -> np.ndarray:
        """`(..., variables)` for states z `(..., variables)`, exactly, in float64."""
        z = np.asarray(z, np.float64)
        if not z.ndim or z.shape[-1] != len(self.variables):
            raise ValueError(
                f"{self.name} has the variables {', '.join(self.variables)}, the last axis of z; "
                f"got {z.shape}."
            )
        powers, values = self._table
        return (z[..., None, :] ** powers).prod(-1) @ values

    @functools.cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Powers `(terms, variables)` of all terms, and their coefficients `(terms, variables)`."""
        terms = sorted({term for equation in self.equations for term in equation})
        powers = [[_factors(term).count(one) for one in self.variables] for term in terms]
        values = [[equation.get(term, 0.0) for equation in self.equations] for term in terms]
        return np.array(powers, np.float64), np.array(values)

    def simulate(self, steps: int, dt: float, start: ArrayLike | None = None) -> np.ndarray:
        """`steps` states `(steps, variables)`, dt apart, by the classical Runge-Kutta method.

        **Arguments:**

        - `steps`: the number of states; the first is `start`.
        - `dt`: the time between two states.
        - `start (variables,)`: the first state; the system's own by default. With `(n, variables)` n runs are made
          at once, and the result is `(steps, n, variables)`.

        **Raises:** ValueError for `steps` below 1 and for a `dt` that is not above 0.
        """
        z = np.array(self.start if start is None else start, np.float64)
        if steps < 1 or not dt > 0:
            raise ValueError(f"A run has steps >= 1 and dt > 0; got steps={steps}, dt={dt}.")
        out = np.empty((steps, *z.shape))
        for i in range(steps):
            out[i] = z
            a = self.velocity(z)
            b = self.velocity(z + dt / 2 * a)
            c = self.velocity(z + dt / 2 * b)
            z = z + dt / 6 * (a + 2 * b + 2 * c + self.velocity(z + dt * c))
        return out

    def coefficients(self, terms: list[str]) -> np.ndarray:
        """The true coefficients `(variables, terms)` in a library with these terms."""
        index = {_sorted(term): i for i, term in enumerate(terms)}
        out = np.zeros((len(self.variables), len(terms)))
        for i, equation in enumerate(self.equations):
            for term, value in equation.items():
                if _sorted(term) not in index:
                    raise ValueError(
                        f"{self.name} has the term {term!r}, which is not in the library: "
                        "raise the degree of polynomials(...)."
                    )
                out[i, index[_sorted(term)]] = value
        return out


def dynamics(name: str, **parameters: float) -> Dynamics:
    r"""$\dot z = f(z)$ for a system with known polynomials f.

    | name | equations |
    |---|---|
    | "lorenz" | $\sigma(y - x)$, $x(\rho - z) - y$, $xy - \beta z$ |
    | "hopf" | $\mu x - \omega y - a x (x^2 + y^2)$, $\omega x + \mu y - a y (x^2 + y^2)$ |
    | "rossler" | $-y - z$, $x + a y$, $b + z (x - c)$ |
    | "van_der_pol" | $y$, $\mu (1 - x^2) y - x$ |
    | "lotka_volterra" | $a x - b x y$, $c x y - d y$ |
    | "duffing" | $y$, $-\delta y - \alpha x - \beta x^3$ |

    **Arguments:**

    - `name`: one of the names above.
    - `parameters`: values of the constants above by name (`rho=28.0`), in place of the usual ones.

    **Returns:** `Dynamics`.

    **Raises:** ValueError for an unknown name or parameter.

    ```python
    lorenz = ji.toy.dynamics("lorenz", rho=28.0)
    z = lorenz.simulate(steps=1000, dt=0.002)
    lorenz.velocity(z).shape  # (1000, 3)
    ```

    Law: halving dt makes the error of a run 16 times smaller; the velocity is the library of terms
    times the true coefficients.
    """
    if name not in SYSTEMS:
        raise ValueError(f"dynamics is one of {', '.join(map(repr, SYSTEMS))}; got {name!r}.")
    usual, variables, start, make = SYSTEMS[name]
    unknown = set(parameters) - set(usual)
    if unknown:
        raise ValueError(f"{name} has the parameters {', '.join(usual)}; got {', '.join(sorted(unknown))}.")
    return Dynamics(name, variables, make(**{**usual, **parameters}), start)


def _lorenz(sigma: float, rho: float, beta: float) -> tuple[Terms, ...]:
    return {"x": -sigma, "y": sigma}, {"x": rho, "y": -1.0, "x z": -1.0}, {"z": -beta, "x y": 1.0}


def _hopf(mu: float, omega: float, a: float) -> tuple[Terms, ...]:
    return (
        {"x": mu, "y": -omega, "x^3": -a, "x y^2": -a},
        {"x": omega, "y": mu, "x^2 y": -a, "y^3": -a},
    )


def _rossler(a: float, b: float, c: float) -> tuple[Terms, ...]:
    return {"y": -1.0, "z": -1.0}, {"x": 1.0, "y": a}, {"1": b, "z": -c, "x z": 1.0}


def _van_der_pol(mu: float) -> tuple[Terms, ...]:
    return {"y": 1.0}, {"x": -1.0, "y": mu, "x^2 y": -mu}


def _lotka_volterra(a: float, b: float, c: float, d: float) -> tuple[Terms, ...]:
    return {"x": a, "x y": -b}, {"x y": c, "y": -d}


def _duffing(delta: float, alpha: float, beta: float) -> tuple[Terms, ...]:
    return {"y": 1.0}, {"y": -delta, "x": -alpha, "x^3": -beta}


SYSTEMS: dict[str, tuple[dict[str, float], tuple[str, ...], tuple[float, ...], Callable]] = {
    "lorenz": (
        {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3},
        ("x", "y", "z"),
        (-8.0, 7.0, 27.0),
        _lorenz,
    ),
    "hopf": ({"mu": 0.5, "omega": 1.0, "a": 1.0}, ("x", "y"), (1.5, 0.5), _hopf),
    "rossler": ({"a": 0.2, "b": 0.2, "c": 5.7}, ("x", "y", "z"), (-5.0, 2.0, 0.1), _rossler),
    "van_der_pol": ({"mu": 1.5}, ("x", "y"), (2.0, 1.0), _van_der_pol),
    "lotka_volterra": (
        {"a": 1.0, "b": 0.5, "c": 0.3, "d": 0.8},
        ("x", "y"),
        (4.0, 1.0),
        _lotka_volterra,
    ),
    "duffing": ({"delta": 0.2, "alpha": 0.5, "beta": 1.0}, ("x", "y"), (2.0, -1.0), _duffing),
}


def _factors(term: str) -> list[str]:
    """ "x^2 y" as x, x, y; "1" as nothing."""
    found = []
    for part in term.split():
        name, _, power = part.partition("^")
        found += [name] * (int(power) if power else 1)
    return [] if term == "1" else found


def _sorted(term: str) -> str:
    return " ".join(sorted(_factors(term)))
