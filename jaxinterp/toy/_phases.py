"""The phase diagram of one extra feature: ignored, given the dimension, or put into superposition."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_array
from .._settings import takes_settings
from ..stats._results import Record, Result
from ..typing import ArrayLike, KeyLike
from ..viz import HeatmapSettings, heatmaps
from ._bottleneck import BottleneckSettings, superposition

if TYPE_CHECKING:
    from ..viz import Figure

PHASES = ("not represented", "dedicated", "superposition")
HALF = 0.5  # a feature is represented where its norm is above; norms are near 0 or near 1 and more


class PhaseDiagram(Result, eqx.Module):
    """Whether a second feature is represented in the dimension of the first; made by `phase_diagram`.

    - `density (density,)`: the probability that a feature is on.
    - `importance (importance,)`: the importance of the second feature; that of the first is 1.
    - `w (density, importance, instance, 2)`: the weights of both features.
    - `loss (density, importance, instance)`: the loss at the end of the training.

    ```python
    found = ji.toy.phase_diagram(jax.random.key(0), density=[1, 0.05], importance=[0.2, 1, 5], steps=200)
    found.phase, found.expected                         # names of phases, (2, 3) each
    ```
    """

    density: Float[Array, " density"]
    importance: Float[Array, " importance"]
    w: Float[Array, "density importance instance 2"]
    loss: Float[Array, "density importance instance"]

    @property
    def phases(self) -> np.ndarray:
        """`(density, importance, instance)`: the name of the phase of each start, by the norms of both features."""
        first, second = np.moveaxis(np.abs(np.asarray(self.w)) > HALF, -1, 0)
        return np.where(~second, PHASES[0], np.where(~first, PHASES[1], PHASES[2]))

    @property
    def phase(self) -> np.ndarray:
        """`(density, importance)`, the phase of the start with the least loss."""
        best = np.asarray(self.loss).argmin(-1)[..., None]
        return np.take_along_axis(self.phases, best, -1)[..., 0]

    @property
    def candidate_losses(self) -> np.ndarray:
        r"""`(density, importance, 3)`: the losses of the three solutions by formula, in the order of the phases.

        With density p and importance I: an ignored feature costs its variance $p/3 - p^2/4$ times its
        importance; two features at $W = (1, -1)$ without bias cost $(1 + I) p^2 / 6$.
        """
        p, extra = np.asarray(self.density)[:, None], np.asarray(self.importance)[None]
        variance = p / 3 - p**2 / 4
        return np.stack([variance * extra, variance + 0 * extra, (1 + extra) * p**2 / 6], axis=-1)

    @property
    def expected(self) -> np.ndarray:
        """`(density, importance)`, the phase with the least of `candidate_losses`."""
        return np.asarray(PHASES)[self.candidate_losses.argmin(-1)]

    def records(self) -> list[Record]:
        """A row for each density and importance."""
        phases, phase, expected = self.phases, self.phase, self.expected
        least, w = np.asarray(self.loss).min(-1), np.asarray(self.w)
        best = np.asarray(self.loss).argmin(-1)
        return [
            {
                "density": float(p),
                "importance": float(extra),
                "phase": str(phase[i, j]),
                "expected": str(expected[i, j]),
                "loss": float(least[i, j]),
                "weights": w[i, j, best[i, j]].tolist(),
                **{name: float((phases[i, j] == name).mean()) for name in PHASES},
            }
            for i, p in enumerate(np.asarray(self.density))
            for j, extra in enumerate(np.asarray(self.importance))
        ]

    def figure(self) -> "Figure":
        """The phase of the best start, by density and importance, and a dot where the formula expects it."""
        phase, expected = self.phase, self.expected
        return heatmaps(
            {name: (phase == name).astype(float) for name in PHASES},
            rows=[f"{p:.3g}" for p in np.asarray(self.density)],
            cols=[f"{extra:.3g}" for extra in np.asarray(self.importance)],
            axis_names=("density", "importance"),
            value="1: in this phase",
            title="The extra feature: two features, one dimension",
            marks={name: expected == name for name in PHASES},
            settings=HeatmapSettings(
                limits=(0, 1),
                mark="least loss by formula",
                caption="Importance is that of the extra feature; the first has importance 1. Each cell is the start "
                "with the least loss.",
            ),
        )


@takes_settings
def phase_diagram(
    key: KeyLike,
    *,
    density: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    instances: int = 8,
    steps: int = 3000,
    settings: BottleneckSettings = BottleneckSettings(batch_size=256, learning_rate=3e-3),
) -> PhaseDiagram:
    r"""$x' = \mathrm{relu}(w^\top w x + b)$ of two features in one dimension, for every density and importance of the second.

    Where features are dense, only the more important one is represented. Where they are sparse, both are represented,
    in opposite directions. The change is sudden, as in a phase transition of the first order.
    Elhage et al. 2022 (https://transformer-circuits.pub/2022/toy_model/index.html).

    **Arguments:**

    - `key`: a `jax.random.key`.
    - `density`: `(density,)`; ten from 1 to 0.01 with equal ratios by default.
    - `importance`: `(importance,)`, the importance of the second feature; nine from 0.1 to 10 by default.
    - `instances`: how many starts for each pair; 8 by default. A start whose two first weights have the same
      sign cannot reach superposition; half of the starts are of this kind.
    - `steps`: how many steps of Adam; 3,000 by default.
    - `settings`: batches and targets, as in `superposition`. All trainings are one program.

    **Returns:** `PhaseDiagram`: `.phase`, `.phases`, `.expected`, `.figure()`.

    **Raises:** ValueError for densities outside of (0, 1] and importances below 0; see `superposition`.

    ```python
    found = ji.toy.phase_diagram(jax.random.key(0), density=[1, 0.05], importance=[0.2, 1, 5], steps=200)
    found.phase.shape  # (2, 3)
    ```

    Law: away from the borders the phase is the one with the least loss by formula.
    """
    densities = np.geomspace(1, 0.01, 10) if density is None else _axis(density, "density")
    extras = np.geomspace(0.1, 10, 9) if importance is None else _axis(importance, "importance")
    cells = np.stack(np.meshgrid(densities, extras, indexing="ij"), -1).reshape(-1, 2)
    weights = np.stack([np.ones(len(cells)), cells[:, 1]], -1)
    found = superposition(
        key,
        features=2,
        hidden=1,
        density=cells[:, 0],
        importance=weights,
        instances=instances,
        steps=steps,
        settings=settings,
    )
    shape = (len(densities), len(extras), instances)
    return PhaseDiagram(
        jnp.asarray(densities, jnp.float32),
        jnp.asarray(extras, jnp.float32),
        found.w.reshape(*shape, 2),
        found.loss.reshape(shape),
    )


def _axis(values: ArrayLike, name: str) -> np.ndarray:
    given = np.asarray(as_array(values, name))
    if given.ndim != 1 or not given.size:
        raise ValueError(f"{name} is an array ({name},), such as [1.0, 0.1]; got the shape {given.shape}.")
    return given
