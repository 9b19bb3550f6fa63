"""Which tokens of a corpus count: bools, ints or a slice become one array of bools."""

from typing import Any

import numpy as np

from ..core._check import as_array, check_selector


def as_positions(positions: Any, real: np.ndarray) -> np.ndarray:
    """Bools `(row, pos)`, True at the real tokens that count.

    **Arguments:** `positions`: bools `(row, pos)` or `(pos,)`; ints `()` or `(n,)`, or a slice, which
    count the real tokens of each row from 0 (-1 is the last); or ints `(row, n)`, columns;
    `real` `(row, pos)`: the padding mask.
    """
    if isinstance(positions, slice):
        return _of_slice(positions, real)
    chosen = np.asarray(as_array(positions))
    if chosen.dtype == bool:
        if chosen.shape not in (real.shape, real.shape[1:]):
            raise ValueError(
                f"positions= as bools has the shape of the tokens {real.shape}, or {real.shape[1:]} for every "
                f"row; got {chosen.shape}."
            )
        if chosen.ndim == 2 and (chosen & ~real).any():
            raise ValueError(
                "positions= selects padding: it is True where mask= is False. Write positions=chosen & mask."
            )
        return _nonempty(chosen & real if chosen.ndim == 2 or not real.all() else _of_all(chosen, real))
    if not np.issubdtype(chosen.dtype, np.integer) or chosen.ndim > 2:
        raise ValueError(
            "positions= is bools (row, pos), ints (n,) or (row, n), or a slice; got the shape "
            f"{chosen.shape} of {chosen.dtype}. All but the first token: positions=slice(1, None)."
        )
    check_selector("pos", chosen, real.shape[1], real.shape[:1], "positions", real)
    if chosen.ndim == 2:  # columns
        out = np.zeros(real.shape, bool)
        np.put_along_axis(out, np.where(chosen < 0, chosen + real.shape[1], chosen), True, 1)
        return _nonempty(out & real)
    number, length = real.cumsum(-1) - 1, real.sum(-1)[:, None]
    wanted = np.where(chosen < 0, length + chosen.reshape(1, -1), chosen.reshape(1, -1))
    return _nonempty((number[..., None] == wanted[:, None]).any(-1) & real)


def after_first(real: np.ndarray, skip: int = 1) -> np.ndarray:
    """All real tokens but the first `skip` of each row, `(row, pos)`."""
    return real & (np.cumsum(real, -1) > skip)


def _of_slice(positions: slice, real: np.ndarray) -> np.ndarray:
    """The real tokens whose numbers a slice takes, row by row."""
    width = real.shape[1]
    if real.all():
        row = np.zeros(width, bool)
        row[positions] = True
        return _nonempty(_of_all(row, real))
    out = np.zeros(real.shape, bool)
    for length in np.unique(real.sum(-1)):
        row = np.zeros(width, bool)
        row[range(*positions.indices(int(length)))] = True
        here = real.sum(-1) == length
        out[here] = row[np.maximum(real[here].cumsum(-1) - 1, 0)] & real[here]
    return _nonempty(out)


def _of_all(row: np.ndarray, real: np.ndarray) -> np.ndarray:
    """One choice `(pos,)` for every row, without a copy of it for each."""
    return np.broadcast_to(row, real.shape)


def _nonempty(chosen: np.ndarray) -> np.ndarray:
    if not chosen.any():
        raise ValueError("positions= selects no token at all.")
    return chosen
