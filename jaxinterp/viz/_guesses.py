"""The guesses of a lens at each layer and position, checked, and what colours them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..typing import ArrayLike
from ._colour import Scale, scale


class Guesses(NamedTuple):
    """Strings and probabilities (layer, pos, guess), numbers (layer, pos) that colour a cell, and their scale."""

    top: np.ndarray
    probs: np.ndarray
    shade: np.ndarray
    ramp: Scale


def checked_guesses(
    tokens: Sequence[str],
    top_tokens: ArrayLike,
    probs: ArrayLike,
    values: ArrayLike | None,
    diverging: bool | None,
    limits: tuple[float | int, float | int] | None,
) -> Guesses:
    """The arrays of a lens table. Raises `ValueError` where their shapes differ."""
    top, probs = np.asarray(top_tokens, dtype=object), np.asarray(probs, dtype=float)
    if top.ndim == 2:
        top, probs = top[..., None], probs[..., None]
    if top.ndim != 3 or top.shape != probs.shape or top.shape[1] != len(tokens) or 0 in top.shape:
        raise ValueError(
            "lens_table takes top_tokens and probs of one shape (layer, pos) or (layer, pos, guess), "
            f"with one position per token; got {np.asarray(top_tokens, dtype=object).shape}, {probs.shape} and {len(tokens)} tokens."
        )
    if values is None:
        return Guesses(top, probs, probs[..., 0], scale(probs, diverging or False, limits or (0.0, 1.0)))
    shade = np.asarray(values, dtype=float)
    if shade.shape != top.shape[:2]:
        raise ValueError(
            f"values holds one number for each cell (layer, pos) {top.shape[:2]}; got {shade.shape}."
        )
    return Guesses(top, probs, shade, scale(shade, diverging, limits))
