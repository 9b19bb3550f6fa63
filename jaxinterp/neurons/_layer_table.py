"""The effects of one kind of intervention on layers, as a table."""

from dataclasses import dataclass

import numpy as np

from ..stats._results import Record, Result
from ._layer_effects import MEASURES


@dataclass(frozen=True, eq=False)
class LayerTable(Result):
    """Means over predictions, one row for each intervention of a kind; a part of `LayerInterventions`.

    - `names`: the layer, the two layers, or the name of an order.
    - `kl (n,)`: nats, $D(p_{\\text{model}} \\| p_{\\text{changed}})$.
    - `loss (n,)`: nats by which the loss of the next token rises.
    - `entropy (n,)`: bits of entropy of the changed model.
    - `agreement (n,)`: the share of predictions whose likeliest token is the model's own: "relative accuracy".
    - `low high (n, measure)`: ends of the interval of each of these four, in this order.

    ```python
    found = ji.neurons.layer_interventions(model, corpus, kinds=["delete"])
    found.delete.names, found.delete.kl, found.delete.middle
    ```
    """

    names: tuple[str, ...]
    kl: np.ndarray
    loss: np.ndarray
    entropy: np.ndarray
    agreement: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def records(self) -> list[Record]:
        """One dict for each intervention."""
        return [
            {"layer": name}
            | {m: float(getattr(self, m)[i]) for m in MEASURES}
            | {
                f"{m}_{end}": float(getattr(self, end)[i, j])
                for j, m in enumerate(MEASURES)
                for end in ("low", "high")
            }
            for i, name in enumerate(self.names)
        ]

    @property
    def middle(self) -> float:
        """The mean agreement without the first and the last of the rows; NaN for fewer than three."""
        return float(self.agreement[1:-1].mean()) if len(self) > 2 else float("nan")
