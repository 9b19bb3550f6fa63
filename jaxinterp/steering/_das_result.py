"""What DAS found: the subspaces, how often interventions on them give the answer, and the controls."""

import dataclasses

import numpy as np
from jaxtyping import Float

from .. import viz
from .._arguments import check_choice
from ..stats._results import Record, Result

CONTROLS = ("whole", "none", "random_subspace", "random_labels", "random_model")
CURVES = ("accuracy", *CONTROLS)


@dataclasses.dataclass(frozen=True, eq=False)
class Subspaces(Result):
    r"""The subspace of each layer, position and head, and its interchange accuracy on test pairs; made by `das`.

    - `site`; `layers (cell,)`, `positions (cell,)`: where each subspace lies; `heads (cell,)` at a site with heads, else
      None.
    - `bases (cell, k, d)`: orthonormal rows; `widths (cell,)`: how many rows, from the first, belong to the subspace.
    - `tests`: the names of the sets of pairs; `counts (test,)`: their sizes; `trained_on`: the number of training pairs.
    - `accuracy (cell, test)`: the share of interventions after which the model gives the answer; `low`, `high`: the ends
      of its interval (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953), which takes pairs as independent.
    - `whole (cell, test)`: the same when the whole site is exchanged; `none (test,)`: without an intervention.
    - `random_subspace (cell, test)`: the accuracy of a random subspace of the same dimension.
    - `random_labels (cell, test)`: the accuracy of a subspace that was trained on random answers.
    - `random_model (cell, test)`: the accuracy of a subspace trained in the same way on a model with random weights.
    - `loss (cell, step)`: the loss of the training.

    A subspace that carries a variable of the model has a higher accuracy than all of the controls. An accuracy above
    `random_model` shows that the training of the subspace alone does not make the answers.

    ```python
    planted = ji.toy.planted_subspace(key=jax.random.key(0))
    pairs = ji.steering.Interchanges(planted.base, planted.source, planted.answer)
    settings = ji.steering.SubspaceSettings(steps=100)
    found = ji.steering.das(jax.random.key(1), planted.model, pairs, layer=0, dim=2, settings=settings)
    found.basis(layer=0).shape, found.records()[0]["accuracy"]
    ```
    """

    site: str
    layers: np.ndarray
    positions: tuple[int | str, ...]
    heads: np.ndarray | None
    bases: Float[np.ndarray, "cell k d"]
    widths: np.ndarray
    tests: tuple[str, ...]
    counts: np.ndarray
    trained_on: int
    accuracy: Float[np.ndarray, "cell test"]
    low: Float[np.ndarray, "cell test"]
    high: Float[np.ndarray, "cell test"]
    whole: Float[np.ndarray, "cell test"]
    none: Float[np.ndarray, " test"]
    random_subspace: Float[np.ndarray, "cell test"]
    random_labels: Float[np.ndarray, "cell test"]
    random_model: Float[np.ndarray, "cell test"]
    loss: Float[np.ndarray, "cell step"]

    def records(self) -> list[Record]:
        """A row for each layer, position, head and test: the accuracy, its interval, and the controls."""
        rows: list[Record] = []
        for cell, (layer, position) in enumerate(zip(self.layers.tolist(), self.positions, strict=True)):
            for test, name in enumerate(self.tests):
                row: Record = {"layer": layer, "position": position}
                if self.heads is not None:
                    row["head"] = int(self.heads[cell])
                row |= {"dim": int(self.widths[cell]), "test": name, "n": int(self.counts[test])}
                for field in ("accuracy", "low", "high", *CONTROLS):
                    values = getattr(self, field)
                    row[field] = float(values[test] if field == "none" else values[cell, test])
                rows.append(row)
        return rows

    def basis(
        self, layer: int, position: int | str | None = None, head: int | None = None
    ) -> Float[np.ndarray, "width d"]:
        """The orthonormal rows of one subspace, for `ji.steering.interchange`. **Raises:** KeyError for another place."""
        for cell, place in enumerate(zip(self.layers.tolist(), self.positions, strict=True)):
            own = None if self.heads is None else int(self.heads[cell])
            if place[0] == layer and position in (None, place[1]) and head in (None, own):
                return self.bases[cell, : int(self.widths[cell])]
        known = ", ".join(map(repr, dict.fromkeys(self.positions)))
        with_heads = "" if self.heads is None else f", heads {list(dict.fromkeys(self.heads.tolist()))}"
        raise KeyError(
            f"No subspace lies at layer {layer}, position {position!r} and head {head}; layers "
            f"{list(dict.fromkeys(self.layers.tolist()))}, positions {known}{with_heads}."
        )

    def figure(self, test: str | None = None, *, title: str = "Interchange accuracy") -> viz.Figure:
        """The accuracy by layer and place (position, head) as a heat map; of one place, curves with the controls.

        **Arguments:** `test`: the name of a set of pairs; None: the first.
        """
        if test is not None:
            check_choice(test, "test", self.tests)
        which = 0 if test is None else self.tests.index(test)
        layers = list(dict.fromkeys(self.layers.tolist()))
        axis, places = self._places(len(self.layers) // len(layers))
        caption = f"{self.site}, {int(self.counts[which])} pairs ({self.tests[which]})."
        if len(places) > 1:
            cells = self.accuracy[:, which].reshape(len(layers), len(places))
            return viz.heatmap(
                cells,
                rows=layers,
                cols=places,
                axis_names=("layer", axis),
                value="accuracy",
                title=title,
                settings=viz.HeatmapSettings(limits=(0.0, 1.0), caption=caption),
            )
        curves = {name.replace("_", " "): self._curve(name, which) for name in CURVES}
        return viz.lines(
            curves, x=layers, x_axis="layer", y_axis="share of answers", title=title, caption=caption
        )

    def _places(self, count: int) -> tuple[str, list[str]]:
        """What tells the subspaces of one layer apart: the name of the axis, and its labels."""
        positions = list(map(str, self.positions[:count]))
        if self.heads is None:
            return "position", positions
        heads = list(map(str, self.heads[:count].tolist()))
        if len(set(positions)) == 1:
            return "head", heads
        return "position and head", [f"{p}, {h}" for p, h in zip(positions, heads, strict=True)]

    def _curve(self, name: str, test: int) -> np.ndarray:
        values = getattr(self, name)
        return np.full(len(self.layers), values[test]) if name == "none" else values[:, test]
