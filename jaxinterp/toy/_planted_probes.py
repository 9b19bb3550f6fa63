"""Data for probes of which the truth is known: which neurons, which features, how well at best."""

import dataclasses

import jax
import numpy as np

from .._deprecations import key_by_name
from .._random import host_generator
from ..typing import ArrayLike, KeyLike


@dataclasses.dataclass(frozen=True, eq=False)
class FakeGelu:
    """Examples `x (n, d)` float32 with labels `y (n,)`; `neurons (k,)`: those that know the label."""

    x: np.ndarray
    y: np.ndarray
    neurons: np.ndarray
    shift: float

    def recall(self, found: ArrayLike) -> float:
        """The share of the true neurons that are among those found."""
        return float(np.isin(self.neurons, np.asarray(found)).mean())


@key_by_name("ji.toy.fake_gelu(key=jax.random.key(0))")
def fake_gelu(
    *,
    key: KeyLike,
    n: int = 2000,
    d: int = 200,
    k: int = 5,
    shift: float | int = 1.0,
    share: float = 0.1,
) -> FakeGelu:
    r"""$x = z\,\sigma(1.702 z)$, $z \sim N(0, I_d) + s\,y\,\mathbb 1_S$: k of d neurons are shifted by the label.

    The benchmark of feature selection of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610): Gaussian
    inputs to a fast GELU, with the shift before it.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 2,000 by default.
    - `d`: the number of neurons; 200 by default.
    - `k`: how many of them know the label; 5 by default.
    - `shift`: s, in standard deviations of z; 1 by default.
    - `share`: the share of positives, exact to a row, at least one example of each class; 0.1 by default.

    **Returns:** `FakeGelu`.

    ```python
    planted = ji.toy.fake_gelu(key=jax.random.key(0))
    scores = ji.probes.rank(planted.x, planted.y)
    planted.recall(np.argsort(-scores)[:5])
    ```

    Law: at the defaults mean difference, F and exact selection recall 0.8 and more, a random order k/d.
    """
    if not (1 <= k <= d and n >= 4 and 0 < share < 1):
        raise ValueError(
            f"Planted neurons need 1 <= k <= d, n >= 4 and 0 < share < 1; got k={k}, d={d}, n={n}, "
            f"share={share}."
        )
    rng = host_generator(key)
    y = np.zeros(n, int)
    y[rng.permutation(n)[: min(max(round(share * n), 1), n - 1)]] = 1
    neurons = np.sort(rng.choice(d, k, replace=False))
    z = rng.normal(size=(n, d))
    z[:, neurons] += float(shift) * y[:, None]
    return FakeGelu((z / (1 + np.exp(-1.702 * z))).astype(np.float32), y, neurons, float(shift))


@key_by_name("ji.toy.fake_gelu_trial(key=jax.random.key(0))")
def fake_gelu_trial(*, key: KeyLike, most_n: int = 30000, most_d: int = 6400) -> FakeGelu:
    r"""One of the published trials of `fake_gelu`: n, d, k, shift and share are drawn as well.

    n log-uniform in 500..30000, d in 50 {8..128}, k in 2..19, shift log-uniform in 0.05..5, share
    log-uniform in 0.01..0.5; 200 trials make the benchmark, the score is the recall of the top k.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `most_n`, `most_d`: the ends of both ranges; smaller ones make quick runs.

    ```python
    planted = ji.toy.fake_gelu_trial(key=jax.random.key(0), most_n=1000, most_d=800)
    planted.x.shape, len(planted.neurons), planted.shift
    ```
    """
    ranges, inner = jax.random.split(key)
    rng = host_generator(ranges)
    log = lambda low, high: float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return fake_gelu(
        key=inner,
        n=int(log(500, max(most_n, 501))),
        d=50 * int(rng.integers(8, max(most_d // 50, 8) + 1)),
        k=int(rng.integers(2, 20)),
        shift=log(0.05, 5),
        share=log(0.01, 0.5),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Superposed:
    """Neurons `x (n, neurons)` float32 that hold more `features (n, m)` than they are.

    `directions (m, neurons)` of unit length; `y (n,)`: feature 0, the one to probe for; `dedicated`:
    the column of its own neuron, None where it has none.
    """

    x: np.ndarray
    features: np.ndarray
    directions: np.ndarray
    dedicated: int | None

    @property
    def y(self) -> np.ndarray:
        """Labels of feature 0."""
        return self.features[:, 0].astype(int)


@key_by_name("ji.toy.planted_superposition(key=jax.random.key(0))")
def planted_superposition(
    *,
    key: KeyLike,
    n: int = 4800,
    features: int = 30,
    neurons: int = 12,
    density: float = 0.0005,
    share: float | None = None,
    bias: float | int = -0.05,
    noise: float | int = 0.005,
    dedicated: bool = False,
) -> Superposed:
    r"""$x = \mathrm{relu}(f D + b + \sigma\epsilon)$: many sparse features f in few neurons, along random unit directions.

    An example shows feature 0 with probability `share`, or else at least one of the other features,
    each with probability `density` apart from that. Elhage et al. 2022
    (https://transformer-circuits.pub/2022/toy_model/index.html), methods of Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610).

    **Superposition needs sparsity.** At `density` 0.0005 hardly two features of 30 meet, and five neurons
    tell feature 0 from any other one. At 0.05 others together often look like it, and no neurons tell
    them apart. Now and then a random direction lies along one neuron, which then is enough.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 4,800 by default.
    - `features`, `neurons`: how many of each; 30 and 12 by default.
    - `density`, `share`: as above. By default feature 0 is as frequent as any other.
    - `bias`: b, negative, so that weak interference is cut off; -0.05 by default.
    - `noise`: σ before the ReLU; 0.005 by default.
    - `dedicated`: adds one neuron, in a random column, that is on with feature 0 alone.

    **Returns:** `Superposed`.

    ```python
    planted = ji.toy.planted_superposition(key=jax.random.key(0))
    planted.x.shape, planted.features.shape
    ```

    Law: five neurons reach an F1 above 0.95, one (for eight keys of the first ten) below 0.8; a dedicated
    one alone is enough.
    """
    share = 1 / features if share is None else share
    if not (0 < density < 1 and 0 < share < 1 and features >= 2 and neurons >= 1 and n >= 4):
        raise ValueError(
            "Superposition has features >= 2, neurons >= 1, n >= 4, density and share between 0 and 1; "
            f"got features={features}, neurons={neurons}, n={n}, density={density}, share={share}."
        )
    rng = host_generator(key)
    directions = rng.normal(size=(features, neurons))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shown = rng.random((n, features)) < density
    shown[:, 0] = rng.random(n) < share
    while (none := ~shown.any(1)).any():
        shown[none, 1:] = rng.random((int(none.sum()), features - 1)) < density
    before = shown @ directions
    column = None
    if dedicated:
        column = int(rng.integers(0, neurons + 1))
        before = np.insert(before, column, shown[:, 0], axis=1)
        own = np.zeros(features)
        own[0] = 1
        directions = np.insert(directions, column, own, axis=1)
    x = np.maximum(0, before + float(bias) + float(noise) * rng.normal(size=before.shape))
    return Superposed(x.astype(np.float32), shown, directions, column)


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
