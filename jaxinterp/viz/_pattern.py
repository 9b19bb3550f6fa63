"""Attention weights, checked, and as pixels of one ink."""

from collections.abc import Sequence

import numpy as np

from ..typing import ArrayLike
from ._cells import labels

_INK = (31, 119, 210)


def checked_pattern(
    pattern: ArrayLike, tokens: Sequence[str], heads: Sequence[object] | None
) -> tuple[np.ndarray, list[str]]:
    """The pattern (head, query, key) and the heads' names."""
    pattern = np.asarray(pattern, dtype=float)
    if pattern.ndim != 3 or pattern.shape[1:] != (len(tokens),) * 2 or 0 in pattern.shape:
        raise ValueError(
            "attention draws a pattern (head, query, key) with one query and one key per token; "
            f"got the shape {pattern.shape} and {len(tokens)} tokens. Of a batch, choose one prompt first."
        )
    return pattern, labels(heads, len(pattern), "heads")


def rgba(weights: np.ndarray) -> np.ndarray:
    """Weights in [0, 1] as pixels (query, key, 4) of one ink; opacity carries the weight."""
    alpha = np.rint(255 * np.nan_to_num(np.clip(weights, 0, 1))).astype(np.uint8)
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = _INK, alpha
    return pixels
