"""Libraries of polynomial terms, slopes of noisy runs, and how well equations were recovered."""

import itertools
from typing import TypedDict

import numpy as np

from ..typing import ArrayLike


def polynomials(
    z: ArrayLike, degree: int = 2, variables: tuple[str, ...] | None = None
) -> tuple[np.ndarray, list[str]]:
    r"""$\Theta(z) = (1, z_1, \dots, z_1^2, z_1 z_2, \dots)$: all monomials up to a degree.

    **Arguments:**

    - `z (n, v)`: states.
    - `degree`: the largest degree; 2 by default.
    - `variables`: v names; by default x, y, z for up to three variables, else z0, z1 and so on.

    **Returns:** `(n, terms)` in float64, and the names of the terms: "1", "x", "x y", "x^2 y".

    **Raises:** ValueError for `z` without two axes, a degree below 0, and another number of names.

    ```python
    theta, terms = ji.toy.polynomials(z, degree=2)
    terms                                               # ["1", "x", "y", "z", "x^2", "x y", ...]
    ```

    Law: v variables to degree g have $\binom{v+g}{g}$ terms, each the product that its name says.
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or degree < 0:
        raise ValueError(f"z has the axes (n, variables) and degree is 0 or more; got {z.shape}, {degree}.")
    v = z.shape[1]
    if variables is None:
        variables = tuple("xyz"[:v]) if v <= 3 else tuple(f"z{i}" for i in range(v))
    if len(variables) != v:
        raise ValueError(f"z has {v} variables; got the names {variables}.")
    columns, terms = [], []
    for order in range(degree + 1):
        for chosen in itertools.combinations_with_replacement(range(v), order):
            columns.append(z[:, chosen].prod(1))
            powers = [(variables[i], len(list(same))) for i, same in itertools.groupby(chosen)]
            terms.append(" ".join(one if p == 1 else f"{one}^{p}" for one, p in powers) or "1")
    return np.stack(columns, 1), terms


def derivatives(z: ArrayLike, dt: float, *, window: int = 11, order: int = 4) -> np.ndarray:
    r"""$\dot z(t)$ from states dt apart: the slope of the polynomial that fits a window best.

    This is the filter of Savitzky and Golay. A `window` of 3 with `order` 2 gives central differences; longer windows
    remove more noise. `smooth` gives the states themselves.

    **Arguments:**

    - `z`: states `(n, ...)`, time first.
    - `dt`: the time between two states.
    - `window`: the number of states of a fit, odd; 11 by default.
    - `order`: the degree of the polynomial; 4 by default.

    **Returns:** slopes of the shape of `z`.

    **Raises:** ValueError for a window that is even, not above the order, or longer than the series.

    ```python
    slopes = ji.toy.derivatives(z + noise, dt=0.002, window=21)
    np.abs(slopes - system.velocity(z)).mean()          # the error, by the noise
    ```

    Law: exact for polynomials in time up to `order`.
    """
    return _filtered(z, dt, window, order, 1)


def smooth(z: ArrayLike, *, window: int = 11, order: int = 4) -> np.ndarray:
    r"""$z(t)$ with less noise: the value of the polynomial that fits a window best.

    **Arguments:**

    - `z`, `window`, `order`: as in `derivatives`.

    **Returns:** states of the shape of `z`.

    ```python
    smoothed = ji.toy.smooth(z + noise, window=21)
    np.abs(smoothed - z).mean() / np.abs(noise).mean()  # below 1
    ```

    Law: polynomials in time up to `order` stay the same.
    """
    return _filtered(z, 1.0, window, order, 0)


def _filtered(z: ArrayLike, dt: float, window: int, order: int, deriv: int) -> np.ndarray:
    import scipy.signal

    z = np.asarray(z, np.float64)
    if not (z.ndim and deriv <= order < window <= len(z) and window % 2 and dt > 0):
        raise ValueError(
            "A window is odd, longer than the order, and within the states z (n, ...), and dt > 0; got "
            f"z {z.shape}, window={window}, order={order}, dt={dt}."
        )
    found = scipy.signal.savgol_filter(z, window, order, deriv=deriv, delta=float(dt), axis=0)
    return np.asarray(found)


class Recovery(TypedDict):
    """How well equations were recovered; made by `recovery`.

    - `tpr`: the true positivity rate: terms in both sets, as a share of the terms in either set.
    - `error`: the squared error of the coefficients, as a share of the sum of the true squares.
    - `exact`: 1.0 where the terms found are exactly the true ones, else 0.0.

    ```python
    score = ji.toy.recovery([[0.0, 2.0]], [[0.5, 2.0]])
    score["tpr"], score["error"], score["exact"]        # 0.5, 0.0625, 0.0
    ```
    """

    tpr: float
    error: float
    exact: float


def recovery(true: ArrayLike, found: ArrayLike) -> Recovery:
    r"""$|S \cap \hat S| / |S \cup \hat S|$ of the terms, and $\lVert \xi - \hat\xi \rVert^2 / \lVert \xi \rVert^2$.

    **Arguments:**

    - `true`: the true coefficients, 0 where a term is absent.
    - `found`: the coefficients that were found, of the same shape.

    **Returns:** `Recovery`, a dict with `"tpr"`, `"error"` and `"exact"`.

    **Raises:** ValueError for different shapes, and where all true coefficients are 0.

    ```python
    theta, terms = ji.toy.polynomials(z, degree=2)
    found = ji.probes.best_system(theta, system.velocity(z), k=(2, 3, 2))
    ji.toy.recovery(system.coefficients(terms), found.weights)
    ```

    Law: the true coefficients themselves have 1, 0 and 1.
    """
    true, found = np.asarray(true, np.float64), np.asarray(found, np.float64)
    if true.shape != found.shape or not true.any():
        raise ValueError(
            f"Both hold the same coefficients, not all true ones zero; got {true.shape} and {found.shape}."
        )
    both, either = (true != 0) & (found != 0), (true != 0) | (found != 0)
    error = float(((true - found) ** 2).sum() / (true**2).sum())
    return {
        "tpr": float(both.sum() / either.sum()),
        "error": error,
        "exact": float(both.sum() == either.sum()),
    }
