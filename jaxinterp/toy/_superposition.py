"""More features than neurons: data for probes of which the truth is known."""

import dataclasses

import numpy as np

from .._deprecations import key_by_name, respelled
from .._random import host_generator
from ..typing import KeyLike


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


@dataclasses.dataclass(frozen=True)
class SuperpositionSettings:
    """How features lie in neurons, and how often they fire.

    - `features`, `neurons`: how many of each; 30 and 12 by default.
    - `density`: the probability of each feature but the first; 0.0005 by default.
    - `share`: the probability of feature 0. By default it is as frequent as any other.
    - `bias`: negative, so that weak interference is cut off; -0.05 by default.
    - `noise`: the standard deviation of the noise before the ReLU; 0.005 by default.
    - `dedicated`: adds one neuron, in a random column, that is on with feature 0 alone.
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
def planted_superposition(
    *, key: KeyLike, n: int = 4800, settings: SuperpositionSettings = SuperpositionSettings()
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
    - `settings`: sizes, frequencies and noise; see `SuperpositionSettings`.

    **Returns:** `Superposed`.

    ```python
    planted = ji.toy.planted_superposition(key=jax.random.key(0))
    planted.x.shape, planted.features.shape
    ```

    Law: five neurons reach an F1 above 0.95, one (for eight keys of the first ten) below 0.8; a dedicated
    one alone is enough.
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
