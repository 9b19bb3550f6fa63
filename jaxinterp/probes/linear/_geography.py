"""Places: how far apart on the sphere, how good a map a probe draws, and what it knows of elsewhere."""

import dataclasses
from typing import Any

import numpy as np

from ..._deprecations import respelled
from ...stats import Result, regression_metrics
from ...typing import ArrayLike
from ._ridge import as_targets

COLUMNS = ("latitude", "longitude")


def haversine(
    start: ArrayLike, end: ArrayLike, *, columns: tuple[str, str] = COLUMNS, radius: float | int = 6371.0
) -> np.ndarray:
    r"""$2R \arcsin \sqrt{\sin^2 \tfrac{\Delta\varphi}{2} + \cos\varphi_1 \cos\varphi_2 \sin^2 \tfrac{\Delta\lambda}{2}}$: kilometres along the sphere.

    **Arguments:**

    - `start (..., 2)`, `end (..., 2)`: places in degrees, of shapes that broadcast.
    - `columns`: the order of the last axis. Default ("latitude", "longitude"); tables of (x, y) often have the
      other order.
    - `radius`: of the sphere, in the unit of the result. Default 6371 km.

    **Returns:** `(...)`.

    **Raises:** ValueError for a last axis that is not 2, for other columns.

    ```python
    ji.probes.haversine([48.8566, 2.3522], [51.5074, -0.1278])      # Paris to London: 343.6 km
    ```

    Law: a quarter of a meridian is 10,007.5 km; longitudes 360 degrees apart are the same.
    """
    a, b = (np.radians(_columns(each, columns)) for each in (start, end))
    angle = (
        np.sin((b[..., 0] - a[..., 0]) / 2) ** 2
        + np.cos(a[..., 0]) * np.cos(b[..., 0]) * np.sin((b[..., 1] - a[..., 1]) / 2) ** 2
    )
    return np.asarray(2 * radius * np.arcsin(np.sqrt(np.clip(angle, 0, 1))))


def _columns(places: Any, columns: tuple[str, str]) -> np.ndarray:
    """Places as (latitude, longitude)."""
    if sorted(columns) != list(COLUMNS):
        raise ValueError(
            f"columns name latitude and longitude in their order; got {columns!r}. "
            'Write columns=("longitude", "latitude") for (x, y).'
        )
    places = np.asarray(places, np.float64)
    if not places.ndim or places.shape[-1] != 2:
        raise ValueError(f"Places have a last axis of 2, {columns}; got the shape {places.shape}.")
    return places if tuple(columns) == COLUMNS else places[..., ::-1]


def _distances(targets: np.ndarray, predicted: np.ndarray, columns: Any) -> np.ndarray:
    """`(rows, n)`, of each target to each prediction: on the sphere, or for other targets Euclidean."""
    if columns is not None:
        return haversine(targets[:, None], predicted[None], columns=columns)
    return np.sqrt(((targets[:, None] - predicted[None]) ** 2).sum(-1))


@respelled(chunk="batch_size=")
def proximity_error(
    targets: ArrayLike,
    predicted: ArrayLike,
    *,
    columns: tuple[str, str] | None = COLUMNS,
    each: bool = False,
    batch_size: int = 512,
) -> float | np.ndarray:
    r"""$\frac1n \sum_i \frac{1}{n-1} \lvert \{ j : \mathrm{dist}(y_i, \hat y_j) < \mathrm{dist}(y_i, \hat y_i) \} \rvert$: how many others are predicted nearer to a place than the place itself.

    0 is best and 0.5 is chance. Unlike an error in kilometres, it can be compared between maps of different size. Gurnee
    & Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:**

    - `targets (n, 2)`, `predicted (n, 2)`: places in degrees.
    - `columns`: as in `haversine`. With None targets are `(n,)` or `(n, targets)` of any kind (years), and
      distances are Euclidean.
    - `each`: whether to return the error of each example. Default False: their mean.
    - `batch_size`: how many rows of distances are computed at a time. Default 512.

    **Returns:** a float; with `each`, `(n,)`.

    **Raises:** ValueError for shapes that differ, one example only, a latitude beyond 90 degrees among
    the targets (are columns swapped?).

    ```python
    places = np.stack([rng.uniform(-60, 60, 200), rng.uniform(-180, 180, 200)], 1)
    ji.probes.proximity_error(places, places + rng.normal(size=(200, 2)))
    ```

    Law: 0 for perfect predictions, about 0.5 for random ones, whatever the batch size.
    """
    targets, predicted = as_pair(targets, predicted, columns)
    n = len(targets)
    if n < 2 or batch_size < 1:
        raise ValueError(f"Proximity compares two examples or more; got n={n}, batch_size={batch_size}.")
    out = np.empty(n)
    for start in range(0, n, batch_size):
        rows = slice(start, start + batch_size)
        far = _distances(targets[rows], predicted, columns)
        own = far[np.arange(len(far)), np.arange(n)[rows]]
        out[rows] = (far < own[:, None]).sum(1) / (n - 1)
    return out if each else float(out.mean())


def as_pair(targets: Any, predicted: Any, columns: Any) -> tuple[np.ndarray, np.ndarray]:
    targets = as_targets(targets)
    predicted = as_targets(predicted)
    if targets.shape != predicted.shape:
        raise ValueError(f"There is one prediction per target; got {targets.shape} and {predicted.shape}.")
    if columns is None:
        return targets.reshape(len(targets), -1), predicted.reshape(len(targets), -1)
    beyond = np.abs(_columns(targets, columns)[:, 0]) > 90
    if beyond.any():
        row = int(np.argmax(beyond))
        raise ValueError(
            f"A latitude is within 90 degrees; row {row} of the targets is {targets[row].tolist()} "
            f'as {columns}. For (longitude, latitude): columns=("longitude", "latitude").'
        )
    return targets, predicted


@dataclasses.dataclass(frozen=True, eq=False)
class PlaceMetrics(Result):
    """How good predicted places are; made by `ji.probes.place_metrics`.

    - `r2`, `spearman`: means of both coordinates, each also of one: `r2_latitude`, `r2_longitude`, ...
    - `mean_km`, `median_km`, `rmse_km`: distances of predictions from targets, in kilometres.
    - `proximity_error`: 0 is best, 0.5 is chance.

    ```python
    places = np.stack([rng.uniform(-60, 60, 200), rng.uniform(-180, 180, 200)], 1)
    found = ji.probes.place_metrics(places, places + rng.normal(size=(200, 2)))
    found.r2, found.median_km, found.proximity_error
    ```
    """

    r2: float
    r2_latitude: float
    r2_longitude: float
    spearman: float
    spearman_latitude: float
    spearman_longitude: float
    mean_km: float
    median_km: float
    rmse_km: float
    proximity_error: float


def place_metrics(
    targets: ArrayLike, predicted: ArrayLike, *, columns: tuple[str, str] = COLUMNS
) -> PlaceMetrics:
    r"""How good predicted places are: $R^2$ (mean of both coordinates), Spearman of each, kilometres, proximity.

    **Arguments:**

    - `targets (n, 2)`, `predicted (n, 2)`: places in degrees.
    - `columns`: as in `haversine`.

    **Returns:** `PlaceMetrics`.

    **Raises:** as `proximity_error`.

    ```python
    places = np.stack([rng.uniform(-60, 60, 200), rng.uniform(-180, 180, 200)], 1)
    ji.probes.place_metrics(places, places + rng.normal(size=(200, 2)))["median_km"]
    ```

    Law: columns in another order give the same, if `columns` names that order.
    """
    targets, predicted = as_pair(targets, predicted, columns)
    per = {name: regression_metrics(targets[:, i], predicted[:, i]) for i, name in enumerate(columns)}
    km = haversine(targets, predicted, columns=columns)
    return PlaceMetrics(
        r2=float(np.mean([each["r2"] for each in per.values()])),
        r2_latitude=per["latitude"]["r2"],
        r2_longitude=per["longitude"]["r2"],
        spearman=float(np.mean([each["spearman"] for each in per.values()])),
        spearman_latitude=per["latitude"]["spearman"],
        spearman_longitude=per["longitude"]["spearman"],
        mean_km=float(km.mean()),
        median_km=float(np.median(km)),
        rmse_km=float(np.sqrt((km**2).mean())),
        proximity_error=float(proximity_error(targets, predicted, columns=columns)),
    )
