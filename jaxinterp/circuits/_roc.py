"""How well found circuits agree with the true one: ROC points and their pessimistic area."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import check_choice
from ..stats._results import Result
from ..typing import ArrayLike, StrLike
from ._circuit import Circuit
from ._select import EdgeScores, check_scores

if TYPE_CHECKING:
    from ..viz._figure import Figure

OF = ("edges", "nodes")


@dataclasses.dataclass(frozen=True, eq=False)
class Roc(Result):
    """The rates of true and wrong edges in the found circuits, made by `ji.circuits.roc`.

    - `fpr (point,)`, `tpr (point,)`: the shares of wrong and of true edges that are kept, sorted.
    - `auc`: the area under these points, as in `ji.circuits.pessimistic_auc`.

    ```python
    found = ji.circuits.roc(scores, graph.mask(["embed->0.1.v", "0.1->logits"]))
    found.auc, found.figure()
    ```
    """

    fpr: np.ndarray
    tpr: np.ndarray
    auc: float

    def figure(self) -> "Figure":
        """The points, as a curve."""
        from ..viz import lines

        return lines(
            {f"AUC {self.auc:.3f}": self.tpr},
            x=self.fpr,
            title="What was found beside the true circuit",
            x_axis="share of all else that is kept",
            y_axis="share of the true circuit that is kept",
        )


def pessimistic_auc(x: ArrayLike, y: ArrayLike) -> float:
    r"""$\sum_i (1 - x_i)(y_i - y_{i-1})$: the area under the stairs below all points.

    Points are sorted by x, then y. Nothing is interpolated: between two points the curve is as low as
    it may be. Conmy et al. 2023, appendix (https://arxiv.org/abs/2304.14997).

    **Arguments:** `x`, `y`: the coordinates of the points, false and true positive rates, `(n,)`.

    **Returns:** a number between 0 and 1.

    **Raises:** ValueError for coordinates of different lengths, outside 0 to 1, or NaN.

    ```python
    ji.circuits.pessimistic_auc([0, 0.25, 0.5, 1], [0, 0.25, 0.5, 1])         # 0.3125
    ```

    Law: a true circuit among the points, with (0, 0) and (1, 1), gives 1.
    """
    points = [np.asarray(each, np.float64) for each in (x, y)]
    if points[0].shape != points[1].shape or points[0].ndim != 1 or not points[0].size:
        raise ValueError(
            "x and y are lists of one length, with a point or more; got the shapes "
            f"{points[0].shape} and {points[1].shape}."
        )
    if not all(((each >= 0) & (each <= 1)).all() for each in points):
        raise ValueError("x and y are shares, between 0 and 1, and no NaN.")
    order = np.lexsort((points[1], points[0]))
    x_sorted, y_sorted = points[0][order], points[1][order]
    return float(((1 - x_sorted[1:]) * np.diff(y_sorted)).sum())


def roc(found: Circuit | EdgeScores, truth: Circuit, *, of: StrLike = "edges") -> Roc:
    r"""$\big(\tfrac{|C \setminus T|}{|E \setminus T|}, \tfrac{|C \cap T|}{|T|}\big)$ for each found circuit C and the true circuit T.

    A point is left out if another point is better in both rates. The points (0, 0) and (1, 1) are added, as in
    Conmy et al. 2023.

    **Arguments:**

    - `found`: several circuits, `mask (n, edge)`, as a list of thresholds gives them; or scores of
      edges: then the best n edges are a circuit for every n.
    - `truth`: the true circuit, of the same graph.
    - `of`: `"edges"`, or `"nodes"`: the senders that have a kept edge.

    **Returns:** a `Roc`.

    ```python
    truth = graph.mask(["embed->0.1.v", "0.1->logits"])
    ji.circuits.roc(ji.circuits.eap(model, clean, corrupt, metric), truth).auc
    ```

    Laws: the truth itself gives 1; a circuit without true edges gives 0.
    """
    check_choice(of, "of", OF)
    if not isinstance(found, Circuit):
        check_scores(found)
    graph = truth.graph
    if found.graph != graph:
        raise ValueError(f"The true circuit is of {graph}, and what was found of {found.graph}.")
    true = _counted(truth.kept[None], truth, of)[0]
    if not true.any() or true.all():
        raise ValueError(f"A true circuit has some of the {of}, and not all; this has {int(true.sum())}.")
    if isinstance(found, Circuit):
        kept = _counted(found.kept.reshape(-1, graph.size), truth, of)
        hits, misses = (kept & true).sum(1), (kept & ~true).sum(1)
    else:
        size = np.abs(np.asarray(found.values, np.float64))
        if of == "nodes":
            most = np.full(len(graph.senders), -np.inf)
            np.maximum.at(most, np.repeat(graph.pairs[:, 0], graph.pos or 1), size)
            size = most
        # Equal scores enter together: no order among them is known.
        levels = np.unique(size)[::-1]
        hits = np.asarray([(size[true] >= level).sum() for level in levels])
        misses = np.asarray([(size[~true] >= level).sum() for level in levels])
    tpr, fpr = hits / true.sum(), misses / (~true).sum()
    tpr, fpr = np.append(tpr, [0.0, 1.0]), np.append(fpr, [0.0, 1.0])
    order = np.lexsort((-tpr, fpr))
    tpr, fpr = tpr[order], fpr[order]
    best = tpr > np.append(-1.0, np.maximum.accumulate(tpr)[:-1])
    tpr, fpr = np.append(0.0, tpr[best]), np.append(0.0, fpr[best])
    if fpr[-1] < 1:
        tpr, fpr = np.append(tpr, 1.0), np.append(fpr, 1.0)
    return Roc(fpr, tpr, pessimistic_auc(fpr, tpr))


def _counted(kept: np.ndarray, circuit: Circuit, of: str) -> np.ndarray:
    """The edges, or the senders with a kept edge."""
    if of == "edges":
        return kept
    graph = circuit.graph
    sender = np.repeat(graph.pairs[:, 0], graph.pos or 1)
    nodes = np.zeros((len(kept), len(graph.senders)), bool)
    for row, mask in enumerate(kept):
        nodes[row, sender[mask]] = True
    return nodes
