"""What toy models of superposition have learned: their weights, and the geometry of their features."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..viz import directions, scatter

if TYPE_CHECKING:
    from ..viz import Figure

STICKY = {
    "1": 1.0,
    "3/4": 3 / 4,
    "2/3": 2 / 3,
    "1/2": 1 / 2,
    "2/5": 2 / 5,
    "3/8": 3 / 8,
    "0": 0.0,
}
"Dimensionalities of regular arrangements: own dimension, tetrahedron, triangle, digon, pentagon, square antiprism."


class Superposition(Result, eqx.Module):
    r"""Trained toy models, each with `hidden` dimensions for `features`; made by `superposition`.

    - `w (instance, hidden, features)`: column i of an instance is the direction $W_i$ of feature i.
    - `bias (instance, features)`: the bias of the output.
    - `density (instance,)`, `importance (instance, features)`: the density and the importances of each instance.
    - `start (instance,)`: the number of its start.
    - `losses (instance, step)`: the loss of every step, on its batch.
    - `w_out (instance, features, hidden)`: the output weights of models that compute |x|; None for others.

    ```python
    found = ji.toy.superposition(jax.random.key(0), density=[1.0, 0.05], instances=2, steps=200)
    found.dimensionality[found.best]                    # (density, features)
    ```
    """

    w: Float[Array, "instance hidden features"]
    bias: Float[Array, "instance features"]
    density: Float[Array, " instance"]
    importance: Float[Array, "instance features"]
    start: Int[Array, " instance"]
    losses: Float[Array, "instance step"]
    w_out: Float[Array, "instance features hidden"] | None = None

    @property
    def loss(self) -> Float[Array, " instance"]:
        """The mean loss of the last tenth of the steps."""
        last = max(1, self.losses.shape[-1] // 10)
        return self.losses[:, -last:].mean(-1)

    @property
    def norms(self) -> Float[Array, "instance features"]:
        r"""$\lVert W_i \rVert$: about 1 where a feature is represented, about 0 where it is not."""
        return jnp.sqrt((self.w**2).sum(1))

    @property
    def overlap(self) -> Float[Array, "instance features features"]:
        r"""$(\hat W_i \cdot W_j)^2$: the share of feature j that is read along feature i; 0 for $W_i = 0$."""
        norms = self.norms[:, None]
        unit = self.w / jnp.where(norms > 0, norms, 1)
        return einsum("ihf,ihg->ifg", unit, self.w) ** 2

    @property
    def interference(self) -> Float[Array, "instance features"]:
        r"""$\sum_{j \ne i} (\hat W_i \cdot W_j)^2$: how much other features disturb feature i."""
        other = ~jnp.eye(self.w.shape[-1], dtype=bool)
        return jnp.where(other[None], self.overlap, 0).sum(-1)

    @property
    def dimensionality(self) -> Float[Array, "instance features"]:
        r"""$D_i = \lVert W_i \rVert^2 / \sum_j (\hat W_i \cdot W_j)^2$: the share of a dimension that feature i has.

        Law: $\sum_i D_i$ is at most the rank of W, and so at most `hidden`.
        """
        shared = self.overlap.sum(-1)
        return self.norms**2 / jnp.where(shared > 0, shared, 1)

    @property
    def dims_per_feature(self) -> Float[Array, " instance"]:
        r"""$D^* = m / \lVert W \rVert_F^2$: dimensions for each feature that is represented."""
        return self.w.shape[1] / (self.w**2).sum((1, 2))

    @property
    def best(self) -> Int[Array, " density"]:
        """The instance with the least `loss` of each density, in the order of the densities."""
        count = int(np.asarray(self.start).max()) + 1
        least = jnp.argmin(self.loss.reshape(-1, count), axis=1)
        return least + count * jnp.arange(least.shape[0])

    def records(self) -> list[Record]:
        """A row for each feature of each instance."""
        numbers = {
            "importance": self.importance,
            "norm": self.norms,
            "bias": self.bias,
            "dimensionality": self.dimensionality,
            "interference": self.interference,
        }
        columns = {name: np.asarray(value).tolist() for name, value in numbers.items()}
        each = {"density": self.density, "start": self.start, "loss": self.loss}
        single = {name: np.asarray(value).tolist() for name, value in each.items()}
        instances, _, features = self.w.shape
        return [
            {
                "instance": i,
                **{name: value[i] for name, value in single.items()},
                "feature": feature,
                **{name: value[i][feature] for name, value in columns.items()},
            }
            for i in range(instances)
            for feature in range(features)
        ]

    def figure(self) -> "Figure":
        """The best instance of each density: features as arrows (for two dimensions), and norms as bars.

        A bar is dark where other features interfere with its feature.
        """
        w, shade = np.asarray(self.w), np.asarray(self.interference)
        names = {int(i): f"density {float(self.density[i]):.3g}" for i in np.asarray(self.best)}
        return directions(
            {_apart(name, i): w[i].T for i, name in names.items()},
            shade={_apart(name, i): shade[i] for i, name in names.items()},
            title="Features of toy models by density",
            caption="Arrows are the directions of features in the circle of norm 1. Bars are norms; darker: "
            "more interference. Each is the start with the least loss.",
        )

    def dimensionality_figure(self) -> "Figure":
        """The dimensionality of every feature over 1 / density, beside the values of regular geometries."""
        d = np.asarray(self.dimensionality)
        rarity = np.broadcast_to(1 / np.asarray(self.density)[:, None], d.shape)
        return scatter(
            {"feature": (rarity.ravel(), d.ravel())},
            levels=STICKY,
            log=True,
            title="Dimensionality of features",
            x_axis="1 / density",
            y_axis="dimensionality",
            caption="Lines: 1 own dimension, 3/4 tetrahedron, 2/3 triangle, 1/2 antipodal pair, 2/5 pentagon, "
            "3/8 square antiprism, 0 not represented.",
        )


def _apart(name: str, i: int) -> str:
    """Names of panels differ, also where two densities round to the same digits."""
    return f"{name} ({i})"
