"""What `scaling` returns: features, neurons and weights of models by their size."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import viz
from .._text import grid
from ..stats._results import Record, Result
from ..typing import StrLike

if TYPE_CHECKING:
    from rich.table import Table

TOKEN = "token"
"What stands in place of the aggregate for features of tokens."


@dataclasses.dataclass(frozen=True, eq=False)
class ScalingStudy(Result):
    """Features in models of several sizes; made by `scaling`. Each field is a list of records.

    - `models`: each with its number of `parameters`, `layers`, those that were read, and `neurons` of a layer.
    - `features`: a row for each model, aggregate and feature: `neuron`, the best one (chosen on the training rows
      like every layer), its `f1` on the test rows with `low` and `high`; `dense_f1`; `readable`; `dedicated`,
      whether that neuron reaches the share of `dense_f1`; `needed`, the smallest k that does, None where none of
      `ks` does; `layers_with_one`, the share of layers whose best neuron does; `f1_by_k`.
    - `splits`: a row for each model, aggregate and pair of features of which one holds the other. `own_auc` is the
      area under the ROC curve by which the fine feature's neuron tells it from the rest of the coarse feature,
      `coarse_auc` that of the coarse feature's neuron: 0.5 is chance; `same` where they are one neuron.
    - `weights`: a row for each layer of each model: `curve`, the weight statistic of superposition
      (`weight_statistics`), and medians of `product`, `in_norm` and `cosine`; NaN with a `reason` without biases.
    - `skipped`: features of tokens that a model's text has too few of, with the reason.

    ```python
    found = ji.neurons.scaling({"random": (other, tokenizer), "trained": "tiny"}, documents, key=jax.random.key(0))
    found.sizes()                                        # a row for each model
    found.table(), found.figure()
    ```
    """

    models: list[Record]
    features: list[Record]
    splits: list[Record]
    weights: list[Record]
    skipped: list[Record]
    share: float
    "The share of the dense probe's F1 that is enough."

    def records(self) -> list[Record]:
        """A row for each model, aggregate and feature."""
        return [dict(row) for row in self.features]

    def sizes(self) -> list[Record]:
        """A row for each model and aggregate, over its readable features.

        `dedicated` is the share of them that have a dedicated neuron; `needed` the median k, where a feature for
        which no k was enough counts as more than the largest; `f1` and `dense_f1` means; `own_auc` the mean over
        pairs.
        """
        rows = []
        for model in self.models:
            for reduce in self._reduces():
                mine = self._of(self.features, model["model"], reduce)
                if not mine:
                    continue
                good = [row for row in mine if row["readable"]]
                pairs = [row["own_auc"] for row in self._of(self.splits, model["model"], reduce)]
                pairs = [auc for auc in pairs if np.isfinite(auc)]
                mean = lambda values: float(np.mean(values)) if len(values) else float("nan")
                ks = [np.inf if row["needed"] is None else row["needed"] for row in good]
                rows.append(
                    {
                        "model": model["model"],
                        "parameters": model["parameters"],
                        "reduce": reduce,
                        "features": len(mine),
                        "readable": len(good),
                        "dedicated": mean([row["dedicated"] for row in good]),
                        "needed": float(np.median(ks)) if ks else float("nan"),
                        "f1": mean([row["f1"] for row in good]),
                        "dense_f1": mean([row["dense_f1"] for row in good]),
                        "own_auc": mean(pairs),
                        "pairs": len(pairs),
                    }
                )
        return rows

    def table(self, *, title: StrLike = "") -> "Table":
        """The rows of `sizes` for the terminal: `rich.print(found.table())`.

        **Arguments:** `title`: above the table.
        """
        columns = (
            "model",
            "parameters",
            "aggregate",
            "readable",
            "with a dedicated neuron",
            f"k for {100 * self.share:g}%",
            "F1, k=1",
            "F1, dense",
            "AUC within coarse",
        )
        number = lambda x: "-" if np.isnan(x) else f"{x:.3f}"
        rows = [
            [
                row["model"],
                f"{row['parameters']:,}",
                row["reduce"],
                f"{row['readable']} of {row['features']}",
                "-" if not row["readable"] else f"{round(row['dedicated'] * row['readable'])}",
                "-"
                if np.isnan(row["needed"])
                else "more"
                if np.isinf(row["needed"])
                else f"{row['needed']:g}",
                number(row["f1"]),
                number(row["dense_f1"]),
                number(row["own_auc"]),
            ]
            for row in self.sizes()
        ]
        return grid(columns, rows, title=str(title))

    def figure(self, *, reduce: StrLike | None = None, title: StrLike = "") -> viz.Figure:
        """F1 on the test rows over the number of neurons, a curve for each model: the mean over its readable features.

        **Arguments:**

        - `reduce`: the aggregate, "token" for features of tokens; by default the first there is.
        - `title`: by default what is drawn.

        **Raises:** ValueError for an aggregate that is not there.
        """
        known = self._reduces()
        chosen = known[0] if reduce is None else str(reduce)
        if chosen not in known:
            raise ValueError(f"There are the aggregates {known}; got reduce={reduce!r}.")
        curves: dict[str, dict[int, float]] = {}
        for model in self.models:
            good = [row for row in self._of(self.features, model["model"], chosen) if row["readable"]]
            if good:
                ks = sorted(set.intersection(*(set(row["ks"]) for row in good)))
                at = lambda row, k: row["f1_by_k"][row["ks"].index(k)]
                name = f"{model['model']} ({model['parameters']:,})"
                curves[name] = {k: float(np.mean([at(row, k) for row in good])) for k in ks}
        if not curves:
            raise ValueError(
                "No feature is readable in any model, so there is nothing to draw; see .records()."
            )
        ks = sorted(set().union(*curves.values()))
        return viz.lines(
            {name: [curve.get(k, np.nan) for k in ks] for name, curve in curves.items()},
            x=ks,
            title=title or "F1 by number of neurons, models by size",
            x_axis="neurons (k)",
            y_axis="mean F1",
            log=True,
            caption=f"Test documents, aggregate: {chosen}. Each model's mean is over the features it can be read from.",
        )

    def depth_figure(self, *, title: StrLike = "Weight statistic of superposition by depth") -> viz.Figure:
        """The curve of `weight_statistics` over relative depth, for the models that have biases.

        **Arguments:** `title`: above the figure.

        **Raises:** ValueError where no model has biases.
        """
        curves = {}
        for model in self.models:
            rows = [row for row in self.weights if row["model"] == model["model"]]
            if rows and not rows[0]["reason"]:
                curves[model["model"]] = {row["depth"]: row["curve"] for row in rows}
        if not curves:
            raise ValueError(
                "No model has biases in its MLPs, so norm times bias says nothing; see .weights."
            )
        at = sorted(set().union(*curves.values()))
        spread = lambda c: np.interp(at, list(c), list(c.values()))
        return viz.lines(
            {name: spread(curve) for name, curve in curves.items()},
            x=at,
            title=str(title),
            x_axis="relative depth",
            y_axis="median, as a share of the largest",
        )

    def _reduces(self) -> list[str]:
        return list(dict.fromkeys(row["reduce"] for row in self.features))

    @staticmethod
    def _of(rows: list[Record], model: Any, reduce: Any) -> list[Record]:
        return [row for row in rows if row["model"] == model and row["reduce"] == reduce]
