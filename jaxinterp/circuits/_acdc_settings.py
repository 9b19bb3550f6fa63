"""How ACDC decides: which change of the metric is a loss, and in which order senders are tried."""

import dataclasses
from typing import Any

import numpy as np

from .._arguments import as_numbers, check_choice
from .._text import shown
from ..metrics import Metric
from ..typing import ArrayLike, StrLike
from ._graph import Graph
from ._numbering import nodes_of

GOALS = ("min", "max", "keep")
ORDERS = ("reverse", "forward")
LOWER = ("kl", "cross_entropy", "rank")
"Metrics of which less is better."
HIGHER = ("logit_diff", "prob", "log_prob", "prob_diff", "recovered")
"Metrics of which more is better."


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcdcSettings:
    r"""How `ji.circuits.acdc` decides about an edge whose removal changes the metric by $\delta$.

    - `goal`: when an edge is cut. `"min"` cuts it if $\delta < \tau$ (a circuit is worse if its metric is higher,
      as in the paper), `"max"` if $-\delta < \tau$, and `"keep"` if $|\delta| < \tau$, so that the metric stays.
      None takes `"min"` for `kl`, `cross_entropy` and `rank`, `"max"` for `logit_diff`, `prob`, `log_prob`,
      `prob_diff` and `recovered`, and `"keep"` for a metric of your own.
    - `order`: the order in which the senders of a receiver are tried: `"reverse"`, the last computed first;
      `"forward"`; or numbers `(edge,)`, the smallest magnitude first, such as `scores.values` of
      `ji.circuits.eap`.

    ```python
    settings = ji.circuits.AcdcSettings(goal="keep", order="forward")
    ji.circuits.acdc(model, clean, corrupt, metric, threshold=0.01, settings=settings)
    ```
    """

    goal: StrLike | None = None
    order: StrLike | ArrayLike = "reverse"

    def __post_init__(self) -> None:
        if self.goal is not None:
            check_choice(self.goal, "goal", GOALS)
        if isinstance(self.order, str):
            check_choice(self.order, "order", ORDERS)

    def goal_of(self, metric: Metric) -> str:
        """The goal, by default that of the metric."""
        if self.goal is not None:
            return self.goal
        kind = metric.name.split()[0] if metric.name else ""
        return "min" if kind in LOWER else "max" if kind in HIGHER else "keep"

    def sequence(self, graph: Graph) -> np.ndarray:
        """All edges by number in the order in which they are tried: receivers from the logits backwards."""
        at = np.repeat(graph.pairs[:, 1], graph.pos or 1)
        place = np.arange(graph.size)
        if isinstance(self.order, str):
            return np.lexsort([-place if self.order == "reverse" else place, -at])
        numbers = np.asarray(as_numbers(self.order, "order"))
        if numbers.shape != (graph.size,) or not np.isfinite(numbers).all():
            raise ValueError(
                f"order is 'reverse', 'forward', or one finite number for each of the {graph.size:,} edges; got "
                f"{shown(self.order)}."
            )
        return np.lexsort([-place, np.abs(numbers), -at])


def goes(delta: Any, threshold: float, goal: str) -> Any:
    """Whether an edge is removed whose removal changes the metric by `delta`."""
    loss = {"min": delta, "max": -delta, "keep": abs(delta)}[goal]
    return loss < threshold


def stages(graph: Graph, sequence: np.ndarray) -> list[np.ndarray]:
    """The edges of a sequence by the stage at which their receivers read, the logits first.

    What the receivers of one stage read has no influence on one another.
    """
    read = nodes_of(graph).read[graph.pairs[sequence // (graph.pos or 1), 1]]
    return np.split(sequence, np.flatnonzero(np.diff(read)) + 1)
