"""Activations that hold coordinates of places or dates, with the best possible R2."""

import dataclasses

import numpy as np

from .._deprecations import key_by_name
from .._random import host_generator
from ..typing import KeyLike


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedGeo:
    """Activations that hold places or dates; made by `planted_geo`.

    - `x (n, d)`: activations, float32.
    - `y`: the places `(n, 2)` or the dates `(n,)`.
    - `directions`: the rows of M, the directions that hold the coordinates.
    - `r2`: the R2 of the best linear probe of each target, computed from the distribution of the data.

    ```python
    planted = ji.toy.planted_geo(key=jax.random.key(0), n=100, kind="time")
    planted.x.shape, planted.y[:3], planted.r2
    ```
    """

    x: np.ndarray
    y: np.ndarray
    directions: np.ndarray
    r2: float


@key_by_name("ji.toy.planted_geo(key=jax.random.key(0))")
def planted_geo(
    *,
    key: KeyLike,
    n: int = 2000,
    d: int = 32,
    noise: float | int = 0.5,
    kind: str = "place",
    turns: tuple[int, ...] = (2, 3),
) -> PlantedGeo:
    r"""$x = c(y) M + \sigma \epsilon$ with orthonormal rows M: activations that hold coordinates, linearly or on rings.

    | kind | y | c(y) | R2 of the best linear probe |
    |---|---|---|---|
    | "place" | (latitude, longitude) `(n, 2)`, even on the sphere, degrees | both, standardised | $1/(1+\sigma^2)$ |
    | "time" | a year `(n,)` in 1800..2000 | standardised | $1/(1+\sigma^2)$ |
    | "ring" | longitude `(n,)` | cos and sin of it, `turns` times around | $\frac{3}{\pi^2} \sum_m \frac{1}{m^2 (1/2+\sigma^2)}$ |

    Where the `turns` have no common divisor, the rings determine the longitude, and only a probe that is not linear
    can read it. Use it to test the probes of Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 2,000 by default.
    - `d`: the number of dimensions; 32 by default.
    - `noise`: $\sigma$, the standard deviation of the noise in each dimension; 0.5 by default.
    - `kind`: `"place"`, `"time"` or `"ring"`; `"place"` by default.
    - `turns`: how often each ring goes around; `(2, 3)` by default.

    **Returns:** `PlantedGeo`.

    ```python
    planted = ji.toy.planted_geo(key=jax.random.key(0))
    probe = ji.probes.ridge(planted.x, planted.y)
    1 - probe.errors.min(), planted.r2
    ```

    Law: the R2 of a ridge probe is `r2` within 0.02.
    """
    rng = host_generator(key)
    sigma = float(noise)
    longitude = rng.uniform(-np.pi, np.pi, n)
    if kind == "place":
        latitude = np.arcsin(rng.uniform(-1, 1, n))
        y = np.degrees(np.stack([latitude, longitude], 1))
        spread = np.sqrt([np.pi**2 / 4 - 2, np.pi**2 / 3])
        c = np.stack([latitude, longitude], 1) / spread
        r2 = 1 / (1 + sigma**2)
    elif kind == "time":
        y = rng.uniform(1800, 2000, n)
        c = (y[:, None] - 1900) / (200 / np.sqrt(12))
        r2 = 1 / (1 + sigma**2)
    elif kind == "ring":
        if not turns or min(turns) < 1:
            raise ValueError(f"turns are how often each ring goes around, 1 or more; got {turns}.")
        y = np.degrees(longitude)
        c = np.concatenate([[np.cos(m * longitude), np.sin(m * longitude)] for m in turns]).T
        r2 = 3 / np.pi**2 * sum(1 / (m**2 * (0.5 + sigma**2)) for m in turns)
    else:
        raise ValueError(f"kind is 'place', 'time' or 'ring'; got {kind!r}.")
    if d < c.shape[1]:
        raise ValueError(f"kind={kind!r} fills {c.shape[1]} dimensions; got d={d}.")
    rows = np.linalg.qr(rng.normal(size=(d, c.shape[1])))[0].T
    x = c @ rows + sigma * rng.normal(size=(n, d))
    return PlantedGeo(x.astype(np.float32), y, rows, float(r2))
