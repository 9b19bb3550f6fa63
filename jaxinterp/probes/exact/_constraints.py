"""Linear equality constraints on the weights of a regression, checked."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ...typing import ArrayLike

    ConstraintsLike = tuple[ArrayLike, ArrayLike]
    "Constraints C w = e as the pair (C, e)."
else:
    ConstraintsLike = Any


def as_equal(equal: Any, loss: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`C (m, *shape)`, `e (m,)` as rows of unit norm `(m, d)` and `e`, without rows that say 0 = 0."""
    d = int(np.prod(shape))
    if equal is None:
        return np.zeros((0, d)), np.zeros(0)
    if loss != "squared":
        raise ValueError(f"Equality constraints are for regression: loss='squared'; got loss={loss!r}.")
    axes = ", ".join(map(str, ("m", *shape)))
    try:
        c, e = equal
        c, e = np.asarray(c, np.float64), np.asarray(e, np.float64)
    except (TypeError, ValueError):
        c = e = np.zeros(())
    if c.ndim == len(shape):  # one constraint
        c, e = c[None], e.reshape(-1)
    if c.shape[1:] != shape or e.shape != c.shape[:1]:
        raise ValueError(
            f"equal=(C, e) says C w = e, with C ({axes}) and e (m,); got {np.shape(c)} and "
            f"{np.shape(e)}. Weights 0 and 1 opposite: C = np.zeros((1, {d})); C[0, [0, 1]] = 1; "
            "equal=(C, [0])."
        )
    if not (np.isfinite(c).all() and np.isfinite(e).all()):
        raise ValueError("The constraints equal=(C, e) are finite numbers; got NaN or infinity.")
    c = c.reshape(len(c), d)
    norms = np.sqrt((c**2).sum(1))
    if (e[norms == 0] != 0).any():
        at = int(np.flatnonzero((norms == 0) & (e != 0))[0])
        raise ValueError(f"Row {at} of C is zero, and e[{at}] = {e[at]:g}: no weights meet it.")
    c, e = c[norms > 0] / norms[norms > 0, None], e[norms > 0] / norms[norms > 0]
    if len(c):
        missing = c @ np.linalg.lstsq(c, e, rcond=None)[0] - e
        if np.abs(missing).max() > 1e-9 * max(1.0, float(np.abs(e).max())):
            raise ValueError("No weights at all meet C w = e: two of the constraints contradict each other.")
    return c, e
