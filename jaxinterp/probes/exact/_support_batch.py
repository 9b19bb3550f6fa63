"""Many small regressions under linear constraints, solved together; and the supports they are of."""

import itertools
from typing import Any

import numpy as np

FEASIBLE = 1e-9


def combinations(d: int, k: int, chunk: int) -> Any:
    """All k-subsets of 0..d-1 as arrays `(at most chunk, k)`."""
    every = itertools.combinations(range(d), k)
    while True:
        columns = np.fromiter(itertools.chain.from_iterable(itertools.islice(every, chunk)), int)
        if not len(columns):
            return
        yield columns.reshape(-1, k)


def bordered(
    g: np.ndarray, r: np.ndarray, c: np.ndarray, e: np.ndarray, gamma: float, steep: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""`(g + I/gamma) w = r + c^T nu`, `c w = e`, for a batch: w `(b, k)`, nu `(b, m)`, met `(b,)`.

    Where `c w = e` has no solution, `met` is False and nu so large along what is missing that its
    product with it is `steep`. Last comes the diagonal of the inverse of `g + I/gamma`, `(b, k)`.
    """
    batch, k = r.shape
    if k == 0:
        met = np.full(batch, bool((np.abs(e) <= FEASIBLE).all()))
        nu = np.tile(steep * e / max(float(e @ e), 1e-300), (batch, 1))
        return np.zeros((batch, 0)), nu, met, np.zeros((batch, 0))
    a = g + np.eye(k) / gamma
    scale = 1 / np.sqrt(np.einsum("ijj->ij", a))
    # Equal diagonals, and a trace on them: columns that rounding cannot tell apart stay solvable.
    even = a * scale[:, :, None] * scale[:, None, :] + 1e-15 * np.eye(k)
    right = np.concatenate([r[:, :, None], np.swapaxes(c, 1, 2)], 2)

    inverse = np.linalg.inv(even) * scale[:, :, None] * scale[:, None, :]
    found = inverse @ right
    found = found + inverse @ (right - a @ found)
    spread = np.maximum(np.einsum("ijj->ij", inverse), 0)
    w, along = found[:, :, 0], found[:, :, 1:]
    nu = np.zeros((batch, len(e)))
    met = np.ones(batch, bool)
    if len(e):
        middle = c @ along
        diagonal = np.sqrt(np.maximum(np.einsum("ijj->ij", middle), 0))
        even_out = np.where(diagonal > 0, 1 / np.where(diagonal > 0, diagonal, 1), 0)
        values, vectors = np.linalg.eigh(middle * even_out[:, :, None] * even_out[:, None, :])
        inverse = np.where(values > 1e-11, 1 / np.maximum(values, 1e-11), 0)
        loose = np.abs(w)  # the size of weights, where the constraints allow none but zero
        for _ in range(2):
            missing = e - np.einsum("imk,ik->im", c, w)
            part = np.einsum("iml,im->il", vectors, even_out * missing) * inverse
            step = even_out * np.einsum("iml,il->im", vectors, part)
            nu, w = nu + step, w + np.einsum("ikm,im->ik", along, step)
        missing = e - np.einsum("imk,ik->im", c, w)
        room = FEASIBLE * (np.abs(e) + np.einsum("imk,ik->im", np.abs(c), np.abs(w) + loose))
        unmet = np.abs(missing) > np.maximum(room, 1e-300)
        met = ~unmet.any(1)
        # Along what no weights here can meet, nu may be as large as we like: a steep cut.
        away = np.where(even_out > 0, even_out**2, 1.0) * np.where(unmet, missing, 0)
        away = away * (steep / np.maximum((away * missing).sum(1), 1e-300))[:, None]
        nu = np.where(met[:, None], nu, nu + away)
    return w, nu, met, spread
