"""Points and directions to draw, checked."""

from collections.abc import Mapping

import numpy as np

from ..typing import ArrayLike


def checked_points(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]], log: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Points `(point, 2)` by name without NaN, and all of them together; where all are NaN, a place for the axes."""
    points, given = {}, 0
    for name, (x, y) in series.items():
        pair = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
            raise ValueError(
                f"A series is a pair (x, y) of one length; {name!r} has the shapes {pair[0].shape} and "
                f"{pair[1].shape}."
            )
        given += len(pair[0])
        points[name] = np.stack(pair, 1)[np.isfinite(pair[0]) & np.isfinite(pair[1])]
    if not given:
        raise ValueError(
            f"scatter draws at least one point; got none in the series {list(points)}. "
            "Give pairs (x, y): {'feature': ([1.0], [0.5])}."
        )
    every = np.concatenate(list(points.values()))
    if not len(every):
        every = np.array([[float(log), 0.0]])
    low = every[:, 0].min()
    if log and low <= 0:
        raise ValueError(f"A logarithmic axis holds positive numbers; x has {low:g}.")
    return points, every


def checked_directions(
    panels: Mapping[str, ArrayLike], shade: Mapping[str, ArrayLike] | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Directions `(feature, dimension)` and shades `(feature,)` by name."""
    rows = {name: np.asarray(values, dtype=float) for name, values in panels.items()}
    shades = {name: np.asarray(values, dtype=float) for name, values in (shade or {}).items()}
    for name, values in rows.items():
        if values.ndim != 2 or not values.size:
            raise ValueError(
                f"A panel holds directions (feature, dimension); {name!r} has the shape {values.shape}."
            )
        if shade is not None and (name not in shades or shades[name].shape != values.shape[:1]):
            given = shades[name].shape if name in shades else "none"
            raise ValueError(
                f"shade has one number for each of the {len(values)} features of {name!r}; got {given}."
            )
    if not rows:
        raise ValueError("directions draws at least one panel: {'density 0.05': w}.")
    return rows, shades
