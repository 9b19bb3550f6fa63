"""What a context neuron does in its context: costs by path, n-grams and later neurons."""

from dataclasses import dataclass

import numpy as np

from .. import viz
from ..stats._results import Record, Result
from ._address import name
from ._ngrams import ContextNgrams


@dataclass(frozen=True, eq=False)
class ContextStudy(Result):
    """The effects of a context neuron in its context; made by `ji.neurons.context_ngrams`.

    - `neuron`, `context`: a name such as `"3.669"`, and the class; `active`, `inactive`: the values that it was set to.
    - `losses (5,)`: nats per token of the unchanged model, with the neuron active, with it inactive, with only its
      direct path active, and with only its indirect path active.
    - `costs low high (3,)`: nats by which the loss rises without the neuron (total), without its indirect path,
      and without its direct path, with intervals over documents. They do not add up in general.
    - `ngrams`: n-grams that need the neuron.
    - `components (n, 2)`, `added (n,)`: neurons of later layers, and how much more they add to the log-probability of
      the next token because the neuron is active, per token to first order; the largest magnitudes first.
    - `tokens`, `documents`, `level`.

    ```python
    planted = ji.toy.planted_context_ngram()
    texts = {"in": [[1, 4, 5, 6, 3, 7, 8, 9]], "out": [[0, 4, 5, 6, 3, 7, 8, 9]]}
    found = ji.neurons.context_ngrams(planted.model, planted.context, texts, context="in")
    dict(zip(("total", "without_indirect", "without_direct"), found.costs))
    found.records()
    ```
    """

    neuron: str
    context: str
    active: float
    inactive: float
    losses: np.ndarray
    costs: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ngrams: ContextNgrams
    components: np.ndarray
    added: np.ndarray
    tokens: int
    documents: int
    level: float

    @property
    def total(self) -> float:
        """Nats per token by which the loss rises without the neuron."""
        return float(self.costs[0])

    @property
    def without_indirect(self) -> float:
        """Nats per token by which the loss rises where only the direct path is left."""
        return float(self.costs[1])

    @property
    def without_direct(self) -> float:
        """Nats per token by which the loss rises where only the indirect path is left."""
        return float(self.costs[2])

    def records(self) -> list[Record]:
        """One dict for each cost."""
        return [
            {
                "neuron": self.neuron,
                "context": self.context,
                "removed": what,
                "original": float(self.losses[0]),
                "cost": float(self.costs[i]),
                "low": float(self.low[i]),
                "high": float(self.high[i]),
            }
            for i, what in enumerate(("both paths", "indirect path", "direct path"))
        ]

    def figure(self, *, title: str = "") -> viz.Figure:
        """The neurons that the context makes raise or lower the right token, as a table."""
        rows = [[name(each), f"{x:+.4f}"] for each, x in zip(self.components, self.added, strict=True)]
        heading = title or f"Neurons behind {self.neuron} in {self.context}"
        return viz.table(["neuron", "nats per token"], rows, title=heading)
