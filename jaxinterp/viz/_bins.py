"""Counts in bins as shares of each class."""

from collections.abc import Mapping

import numpy as np

from ..typing import ArrayLike
from ._ticks import ticks


def bin_shares(counts: Mapping[str, ArrayLike], edges: ArrayLike) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Shares of each class, and the edges. Raises `ValueError` where their lengths differ."""
    ends = np.asarray(edges, float)
    arrays = {name: np.asarray(each, float) for name, each in counts.items()}
    fits = ends.ndim == 1 and len(ends) > 1 and all(x.shape == (len(ends) - 1,) for x in arrays.values())
    if not arrays or not fits or not (np.diff(ends) > 0).all():
        shapes = {name: x.shape for name, x in arrays.items()}
        raise ValueError(
            "histogram draws counts (bin,) over rising edges (bin + 1,); got edges of the shape "
            f"{ends.shape} and counts {shapes}."
        )
    if any((x < 0).any() or not np.isfinite(x).all() for x in arrays.values()):
        raise ValueError("Counts are finite numbers of at least 0.")
    return {name: x / (x.sum() or 1.0) for name, x in arrays.items()}, ends


def share_ticks(top: float, root: bool) -> list[float]:
    """Shares to write beside the axis, up to the height `top` (of which a root is drawn)."""
    most = top**2 if root else top
    if not root:
        return [v for v in ticks(0, most) if v <= most]
    return [0.0] + [round(most * part, 1 + int(-np.floor(np.log10(most)))) for part in (1 / 16, 0.25, 0.5, 1)]
