"""Libraries of polynomial terms, slopes of noisy runs, and how well equations were recovered."""

import itertools
from typing import TypedDict

import numpy as np

from ..typing import ArrayLike


def polynomials(
    z: ArrayLike, degree: int = 2, variables: tuple[str, ...] | None = None
) -> tuple[np.ndarray, list[str]]:
    r"""$\Theta(z) = (1, z_1, \dots, z_1^2, z_1 z_2, \dots)$: all monomials up to a degree.

    **Arguments:** `z (n, v)`; `degree`; `variables`: v names, by default from x y z or z0 z1 ...

    **Returns:** `(n, terms)` in float64, and the names of the terms: "1", "x", "x y", "x^2 y".

    ```python
    theta, terms = ji.toy.polynomials(z, degree=2)
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

    Savitzky and Golay's filter. A `window` of 3 with `order` 2 gives central differences; longer windows
    remove more noise. See `smooth` for the states themselves.

    **Arguments:**

    - `z`: states `(n, ...)`, time first.
    - `dt`: the time between two states.
    - `window`: the number of states of a fit, odd; 11 by default.
    - `order`: the degree of the polynomial; 4 by default.

    **Returns:** slopes of the shape of `z`.

    ```python
    ji.toy.derivatives(z + noise, dt=0.01, window=21)
    ```

    Law: exact for polynomials in time up to `order`.
    """
    return _filtered(z, dt, window, order, 1)


def smooth(z: ArrayLike, *, window: int = 11, order: int = 4) -> np.ndarray:
    r"""$z(t)$ with less noise: the value of the polynomial that fits a window best; as `derivatives`.

    ```python
    theta, terms = ji.toy.polynomials(ji.toy.smooth(z + noise, window=21))
    ```
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
    """How well equations were recovered.

    - `tpr`: the true positivity rate, in 0..1.
    - `error`: the squared error of the coefficients, as a share of their squares.
    - `exact`: 1.0 where all terms and no others are there, else 0.0.
    """

    tpr: float
    error: float
    exact: float


def recovery(true: ArrayLike, found: ArrayLike) -> Recovery:
    r"""$|S \cap \hat S| / |S \cup \hat S|$ of the terms, and $\lVert \xi - \hat\xi \rVert^2 / \lVert \xi \rVert^2$.

    **Arguments:** `true`, `found`: coefficients of the same shape, zeros where a term is absent.

    **Returns:** `Recovery`: `"tpr"`, `"error"` and `"exact"`.

    ```python
    ji.toy.recovery(system.coefficients(terms), found.weights)
    ```
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
