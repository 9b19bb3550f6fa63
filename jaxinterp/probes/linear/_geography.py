"""Places: how far apart on the sphere, how good a map a probe draws, and what it knows of elsewhere."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...stats._scores import regression_metrics
from ._ridge import as_targets, ridge

COLUMNS = ("latitude", "longitude")


def haversine(
    start: Any, end: Any, *, columns: tuple[str, str] = COLUMNS, radius: float | int = 6371.0
) -> np.ndarray:
    r"""$2R \arcsin \sqrt{\sin^2 \tfrac{\Delta\varphi}{2} + \cos\varphi_1 \cos\varphi_2 \sin^2 \tfrac{\Delta\lambda}{2}}$: kilometres along the sphere.

    **Arguments:** `start (..., 2)`, `end (..., 2)` in degrees, of shapes that broadcast. `columns`: what
    the last axis holds, ("latitude", "longitude") unless told; tables of (x, y) are often the other way
    round. `radius` in the unit wanted.

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


def proximity_error(
    targets: Any,
    predicted: Any,
    *,
    columns: tuple[str, str] | None = COLUMNS,
    each: bool = False,
    chunk: int = 512,
) -> Any:
    r"""$\frac1n \sum_i \frac{1}{n-1} \lvert \{ j : \mathrm{dist}(y_i, \hat y_j) < \mathrm{dist}(y_i, \hat y_i) \} \rvert$: who is predicted closer to me than I am.

    0 is best, 0.5 is chance: unlike an error in kilometres, it can be compared between maps. Gurnee &
    Tegmark 2023 (https://arxiv.org/abs/2310.02207), with columns read as what they are.

    **Arguments:** `targets (n, 2)`, `predicted (n, 2)` in degrees, `columns` as in `haversine`. With
    `columns=None` targets are `(n,)` or `(n, targets)` of any kind (years), distances Euclidean.
    `each`: also that of every example. `chunk` rows of distances are held at a time.

    **Returns:** a float; with `each`, `(n,)`.

    **Raises:** ValueError for shapes that differ, one example only, a latitude beyond 90 degrees among
    the targets (are columns swapped?).

    ```python
    places = np.stack([rng.uniform(-60, 60, 200), rng.uniform(-180, 180, 200)], 1)
    ji.probes.proximity_error(places, places + rng.normal(size=(200, 2)))
    ```

    Law: 0 for perfect predictions, about 0.5 for random ones, whatever the chunk.
    """
    targets, predicted = _pair(targets, predicted, columns)
    n = len(targets)
    if n < 2 or chunk < 1:
        raise ValueError(f"Proximity compares two examples or more; got n={n}, chunk={chunk}.")
    out = np.empty(n)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        far = _distances(targets[rows], predicted, columns)
        own = far[np.arange(len(far)), np.arange(n)[rows]]
        out[rows] = (far < own[:, None]).sum(1) / (n - 1)
    return out if each else float(out.mean())


def _pair(targets: Any, predicted: Any, columns: Any) -> tuple[np.ndarray, np.ndarray]:
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


def place_metrics(targets: Any, predicted: Any, *, columns: tuple[str, str] = COLUMNS) -> dict[str, float]:
    r"""How good a map is: $R^2$ (mean of both coordinates), Spearman of each, kilometres, proximity.

    **Arguments:** `targets (n, 2)`, `predicted (n, 2)` in degrees, `columns` as in `haversine`.

    **Returns:** a dict of floats: `r2`, `spearman` (means), each also with `_latitude` and
    `_longitude` (as `regression_metrics`), `mean_km`, `median_km`, `rmse_km`, `proximity_error`.

    **Raises:** as `proximity_error`.

    ```python
    places = np.stack([rng.uniform(-60, 60, 200), rng.uniform(-180, 180, 200)], 1)
    ji.probes.place_metrics(places, places + rng.normal(size=(200, 2)))["median_km"]
    ```

    Law: columns in another order, named so, change nothing.
    """
    targets, predicted = _pair(targets, predicted, columns)
    found: dict[str, float] = {}
    per = {name: regression_metrics(targets[:, i], predicted[:, i]) for i, name in enumerate(columns)}
    for measure in ("r2", "spearman"):
        found[measure] = float(np.mean([each[measure] for each in per.values()]))
        found |= {f"{measure}_{name}": per[name][measure] for name in COLUMNS}
    km = haversine(targets, predicted, columns=columns)
    found["mean_km"], found["median_km"] = float(km.mean()), float(np.median(km))
    found["rmse_km"] = float(np.sqrt((km**2).mean()))
    found["proximity_error"] = proximity_error(targets, predicted, columns=columns)
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """A block that a probe never saw: `block`, its `count` of examples, and errors inside it.

    `error` the median distance of predictions to targets (kilometres, or units of the targets) of the
    probe without the block, `nominal` of probes that leave out one example alone; `proximity` and
    `nominal_proximity`, within the block, of the same.
    """

    block: Any
    count: int
    error: float
    nominal: float
    proximity: float
    nominal_proximity: float


def block_holdout(
    x: Any,
    y: Any,
    blocks: Any,
    *,
    only: Iterable[Any] | None = None,
    least: int = 20,
    columns: tuple[str, str] | None = COLUMNS,
    lambdas: Any = None,
) -> list[HeldOut]:
    r"""$\hat y_B = f_{\setminus B}(x_B)$: a country, a state or a decade is left out whole, and then predicted.

    A probe that has learned where names of a country lie, rather than a map, fails on a country that
    it never saw. The nominal error is on the same examples, each left out alone (`ridge`'s
    `left_out`). Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:** `x (n, d)`; `y (n, 2)` in degrees with `columns`, or with `columns=None` any targets;
    `blocks (n,)` names; `only` some of them; smaller ones than `least` examples are left out;
    `lambdas` as in `ridge`. Drop rows with the same name first: alone, one tells the other.

    **Returns:** a list of `HeldOut`, the largest block first.

    **Raises:** as `ridge` and `proximity_error`; ValueError where no block is large enough.

    ```python
    places = np.stack([rng.uniform(-60, 60, len(x)), rng.uniform(-180, 180, len(x))], 1)
    country = np.array(["here", "there", "nowhere"])[rng.integers(0, 3, len(x))]
    ji.probes.block_holdout(x, places, country)
    ```

    Law: predictions of a block do not depend on its own targets.
    """
    x, y, blocks = np.asarray(x), as_targets(y), np.asarray(blocks)
    if blocks.shape != (len(y),):
        raise ValueError(f"There is one block per example, ({len(y)},); got the shape {blocks.shape}.")
    names, counts = np.unique(blocks, return_counts=True)
    wanted = None if only is None else {str(each) for each in only}
    chosen = [
        (name, int(count))
        for name, count in zip(names, counts, strict=True)
        if count >= max(least, 2) and (wanted is None or str(name) in wanted)
    ]
    if not chosen:
        raise ValueError(
            f"No block has least={max(least, 2)} examples; the largest is {names[counts.argmax()]!r} "
            f"with {counts.max()}. Lower least, or name blocks more coarsely."
        )
    _pair(y, y, columns)
    nominal = ridge(x, y, lambdas=lambdas).left_out
    out = []
    for name, count in sorted(chosen, key=lambda item: -item[1]):
        inside = blocks == name
        seen = ridge(x[~inside], y[~inside], lambdas=lambdas).predict(x[inside])
        errors = []
        for predicted in (seen, nominal[inside]):
            a, b = _pair(y[inside], predicted, columns)
            far = np.sqrt(((a - b) ** 2).sum(-1)) if columns is None else haversine(a, b, columns=columns)
            errors += [float(np.median(far)), proximity_error(a, b, columns=columns)]
        out.append(HeldOut(name.item(), count, errors[0], errors[2], errors[1], errors[3]))
    return out
