"""Activations that hold coordinates of places or dates, with the best possible R2."""

import dataclasses

import numpy as np

from .._deprecations import key_by_name
from .._random import host_generator
from ..typing import KeyLike


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedGeo:
    """Activations `x (n, d)` float32 of places or dates `y`; `directions`: the rows that carry them.

    `r2`: the R2 of the best linear probe of each target, from the moments that the data were drawn of.
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
    r"""$x = c(y) M + \sigma \epsilon$ with orthonormal rows M: coordinates that activations hold, or hide on rings.

    | kind | y | c(y) | R2 of the best linear probe |
    |---|---|---|---|
    | "place" | (latitude, longitude) `(n, 2)`, even on the sphere, degrees | both, standardised | $1/(1+\sigma^2)$ |
    | "time" | a year `(n,)` in 1800..2000 | standardised | $1/(1+\sigma^2)$ |
    | "ring" | longitude `(n,)` | cos and sin of it, `turns` times around | $\frac{3}{\pi^2} \sum_m \frac{1}{m^2 (1/2+\sigma^2)}$ |

    With `turns` of no common divisor the rings fix the longitude, and only a probe that is not linear
    can read it. For Gurnee & Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 2,000 by default.
    - `d`: the number of dimensions; 32 by default.
    - `noise`: σ of each dimension; 0.5 by default.
    - `kind`: `"place"`, `"time"` or `"ring"`; `"place"` by default.
    - `turns`: how often each ring goes around; `(2, 3)` by default.

    **Returns:** `PlantedGeo`.

    ```python
    planted = ji.toy.planted_geo(key=jax.random.key(0))
    probe = ji.probes.ridge(planted.x, planted.y)
    1 - probe.errors.min(), planted.r2
    ```

    Law: a ridge reaches the R2 stated within 0.02.
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
