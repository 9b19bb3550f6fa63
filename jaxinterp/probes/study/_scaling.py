"""Sparsity against the size of the model: what k needs, in each of several models."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import viz
from ..._tabular import Tabular
from ..._text import grid
from ._records import Record

if TYPE_CHECKING:
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Scaling(Tabular):
    """How many neurons one feature needs in one model; made by `ji.probes.scaling`.

    - `ks`: numbers of neurons, in rising order.
    - `score`, `layer`: the best score over layers for each k, with the ends of its interval, and its layer.
    - `needed`: the smallest k whose score is at least `share` of the score of the largest k.

    ```python
    found = ji.probes.scaling(records)[0]
    found.feature, found.score, found.needed
    ```
    """

    model: str
    parameters: int | None
    feature: str
    metric: str
    share: float
    ks: tuple[int, ...]
    score: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    layer: tuple[int, ...]
    needed: int

    def figure(self, *, title: str = "") -> "viz.Figure":
        """The score by k, with its interval where there is one."""
        band = np.array([self.low, self.high], float)
        bands = {self.feature: (band[0], band[1])} if np.isfinite(band).all() else {}
        curve = {self.feature: self.score}
        name = title or f"{self.feature} in {self.model}"
        return viz.lines(
            curve, x=self.ks, bands=bands, log=True, x_axis="neurons (k)", y_axis=self.metric, title=name
        )


def scaling(
    records: Iterable[Record],
    *,
    method: str = "adaptive",
    metric: str = "f1",
    share: float | int = 0.95,
) -> list[Scaling]:
    r"""$b(k) = \max_l F_1(l, k),\ \ k^* = \min \{k : b(k) \ge 0.95\, b(k_{\max})\}$ for every model and feature.

    The scaling study of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610), section 6: do larger
    models need fewer neurons? The maximum over layers is taken on the test rows, as in the paper, so the score is
    slightly too high; for small test sets look at the intervals.

    **Arguments:**

    - `records`: records of `study`, of one model or several.
    - `method`: the method whose records are compared; "adaptive" by default.
    - `metric`: the field that is the score; "f1" by default.
    - `share`: share of the score of the largest k that is enough; 0.95 by default.

    **Returns:** a list of `Scaling`, by parameters, then by feature.

    **Raises:** ValueError where no record is of the method, or where records that are not of one
    sweep come together: the same model, feature, layer and k twice with different scores.

    ```python
    records = sum((ji.probes.read_records(path) for path in ["70m.jsonl", "160m.jsonl"]), [])
    for each in ji.probes.scaling(records):
        print(each.model, each.feature, each.needed)
    ```

    Law: `score[i]` is the largest of the records of its k, and `needed` is one of `ks`.
    """
    records = list(records)
    if not 0 < share <= 1:
        raise ValueError(f"share is of the largest k's score, above 0 and at most 1; got {share}.")
    mine = [r for r in records if r.get("method") == method]
    if not mine:
        there = sorted({str(r.get("method")) for r in records})
        raise ValueError(f"No record is of the method {method!r}; there are {there}.")
    if any(metric not in r for r in mine):
        raise ValueError(f"Not every record has {metric!r}; try metric='f1'.")
    seen: dict[tuple[Any, ...], Record] = {}
    tops: dict[tuple[Any, ...], dict[int, Record]] = {}
    for r in mine:
        model = r["model"], r.get("model_hash"), r.get("parameters")
        cell = (*model, r["feature"], r.get("site"), r["layer"], r["k"])
        if cell in seen and seen[cell][metric] != r[metric]:
            raise ValueError(
                f"Two records of {r['model']}, {r['feature']!r}, layer {r['layer']}, k={r['k']} differ: "
                "they are of different studies. Compare one study per model."
            )
        seen[cell] = r
        top = tops.setdefault((*model, r["feature"]), {})
        if r["k"] not in top or r[metric] > top[r["k"]][metric]:
            top[r["k"]] = r
    found = []
    for (model, _, parameters, feature), top in tops.items():
        ks = sorted(top)
        score = [float(top[k][metric]) for k in ks]
        needed = next(k for k, s in zip(ks, score, strict=True) if s >= share * score[-1])
        ends = [tuple(top[k].get(f"{metric}_{end}") for k in ks) for end in ("low", "high")]
        found.append(
            Scaling(
                model,
                parameters,
                feature,
                metric,
                float(share),
                tuple(ks),
                tuple(score),
                ends[0],
                ends[1],
                tuple(int(top[k]["layer"]) for k in ks),
                needed,
            )
        )
    return sorted(found, key=lambda s: (s.parameters or 0, s.model, s.feature))


def scaling_table(found: Iterable[Scaling], *, title: str = "") -> "Table":
    """Models by rising size and features as rows: the best single neuron, the largest k, k needed.

    **Arguments:**

    - `found`: the result of `scaling`.
    - `title`: the title of the table; empty by default.

    ```python
    rich.print(ji.probes.scaling_table(ji.probes.scaling(records)))
    ```
    """
    from ...viz import number

    found = list(found)
    if not found:
        raise ValueError("There is nothing to show: scaling(records) gave no rows.")
    share = f"{100 * found[0].share:g}%"
    columns = (
        "model",
        "parameters",
        "feature",
        "k",
        "score (layer)",
        "largest k",
        "score (layer)",
        f"k for {share}",
    )
    rows = [
        [
            s.model,
            "" if s.parameters is None else f"{s.parameters:,}",
            s.feature,
            s.ks[0],
            f"{number(s.score[0])} ({s.layer[0]})",
            s.ks[-1],
            f"{number(s.score[-1])} ({s.layer[-1]})",
            s.needed,
        ]
        for s in found
    ]
    return grid(columns, rows, title=title)
