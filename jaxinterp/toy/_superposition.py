"""More features than neurons: data for probes of which the truth is known."""

import dataclasses

import numpy as np

from .._deprecations import key_by_name, respelled
from .._random import host_generator
from .._settings import takes_settings
from ..typing import KeyLike


@dataclasses.dataclass(frozen=True, eq=False)
class Superposed:
    """Neurons that hold more features than there are neurons; made by `planted_superposition`.

    - `x (n, neurons)`: activations, float32.
    - `features (n, m)`: True where a feature is on.
    - `directions (m, neurons)`: the direction of each feature, of length 1.
    - `dedicated`: the column of the neuron that only feature 0 uses; None where there is none.
    - `y (n,)`: whether feature 0 is on, the label to probe for.

    ```python
    planted = ji.toy.planted_superposition(key=jax.random.key(0))
    planted.x.shape, planted.directions.shape, planted.y.mean()
    ```
    """

    x: np.ndarray
    features: np.ndarray
    directions: np.ndarray
    dedicated: int | None

    @property
    def y(self) -> np.ndarray:
        """The labels `(n,)`: 1 where feature 0 is on."""
        return self.features[:, 0].astype(int)


@dataclasses.dataclass(frozen=True)
class SuperpositionSettings:
    """How features lie in neurons, and how often they fire.

    - `features`, `neurons`: how many of each; 30 and 12 by default.
    - `density`: the probability of each feature but the first; 0.0005 by default.
    - `share`: the probability of feature 0. By default it is as frequent as any other.
    - `bias`: the bias before the ReLU; -0.05 by default. A negative bias removes weak interference.
    - `noise`: the standard deviation of the noise before the ReLU; 0.005 by default.
    - `dedicated`: whether there is one more neuron, in a random column, that is on with feature 0 alone; False by
      default.

    ```python
    settings = ji.toy.SuperpositionSettings(features=40, dedicated=True)
    ji.toy.planted_superposition(key=jax.random.key(0), settings=settings).dedicated    # its column
    ```
    """

    features: int = 30
    neurons: int = 12
    density: float = 0.0005
    share: float | None = None
    bias: float | int = -0.05
    noise: float | int = 0.005
    dedicated: bool = False


_SETTINGS = "settings=ji.toy.SuperpositionSettings({}=...)"


@key_by_name("ji.toy.planted_superposition(key=jax.random.key(0))")
@respelled(
    **{field.name: _SETTINGS.format(field.name) for field in dataclasses.fields(SuperpositionSettings)}
)
@takes_settings
def planted_superposition(
    *, key: KeyLike, n: int = 4800, settings: SuperpositionSettings = SuperpositionSettings()
) -> Superposed:
    r"""$x = \mathrm{relu}(f D + b + \sigma\epsilon)$: many sparse features f in few neurons, along random unit directions.

    In an example feature 0 is on with probability `share`. Each other feature is on with probability `density`, and
    where feature 0 is off at least one of them is on. Elhage et al. 2022
    (https://transformer-circuits.pub/2022/toy_model/index.html), methods of Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610).

    **Superposition needs sparsity.** At `density` 0.0005 two of 30 features are rarely on at the same time, and five
    neurons distinguish feature 0 from any other feature. At 0.05 a sum of other features often looks like feature 0, and
    no neurons distinguish them. Sometimes a random direction lies along one neuron; then this neuron is enough.

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `n`: the number of examples; 4,800 by default.
    - `settings`: sizes, frequencies and noise; see `SuperpositionSettings`.

    **Returns:** `Superposed`.

    ```python
    planted = ji.toy.planted_superposition(key=jax.random.key(0))
    planted.x.shape, planted.features.shape
    ```

    Law: a probe of five neurons has an F1 above 0.95; a probe of one neuron is below 0.8 for eight of the first ten
    keys. A dedicated neuron alone is enough.
    """
    features, neurons, density = settings.features, settings.neurons, settings.density
    share = 1 / features if settings.share is None else settings.share
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
    if settings.dedicated:
        column = int(rng.integers(0, neurons + 1))
        before = np.insert(before, column, shown[:, 0], axis=1)
        own = np.zeros(features)
        own[0] = 1
        directions = np.insert(directions, column, own, axis=1)
    x = np.maximum(0, before + float(settings.bias) + float(settings.noise) * rng.normal(size=before.shape))
    return Superposed(x.astype(np.float32), shown, directions, column)
