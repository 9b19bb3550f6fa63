"""The result of `acdc`: a circuit that knows how the metric changed with each edge."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..stats._results import Record
from ._circuit import Circuit


class Acdc(Circuit):
    r"""A `Circuit` found by `ji.circuits.acdc`; with several thresholds `*n` is their axis.

    - `mask` `(*n, edge)`, `graph`: the circuit itself.
    - `deltas` `(*n, edge)`: $\delta$, the change of the metric when the edge was cut; positive where the metric rose.
      It is 0 at edges without a path to the logits.
    - `threshold` `(*n,)`: $\tau$.
    - `metric` `(*n,)`: the metric of the circuit; `full`, `empty`: the metric with all edges and with none.
    - `runs`: how many circuits ran; `goal`: see `AcdcSettings`.

    ```python
    circuit = ji.circuits.acdc(model, clean, corrupt, metric, threshold=[0.1, 1.0])
    circuit.kept.sum(-1), circuit.deltas.shape
    ```
    """

    deltas: Float[Array, "*n edge"]
    threshold: Float[np.ndarray, "*n"]
    metric: Float[Array, "*n"]
    full: Float[Array, ""]
    empty: Float[Array, ""]
    runs: int = eqx.field(static=True)
    goal: str = eqx.field(static=True)

    def records(self) -> list[Record]:
        """The kept edges, the largest change first: sender, receiver and delta, with the threshold."""
        names = self.graph.edges
        masks, deltas = np.atleast_2d(self.kept), np.atleast_2d(np.asarray(self.deltas))
        rows: list[Record] = []
        for threshold, kept, delta in zip(np.atleast_1d(self.threshold), masks, deltas, strict=True):
            places = np.flatnonzero(kept)
            for i in places[np.argsort(-np.abs(delta[places]), kind="stable")]:
                sender, _, receiver = names[i].partition("->")
                rows.append(
                    {
                        "threshold": float(threshold),
                        "sender": sender,
                        "receiver": receiver,
                        "delta": float(delta[i]),
                    }
                )
        return rows

    def __repr__(self) -> str:
        if self.mask.ndim != 1:
            return f"Acdc({self.mask.shape[0]} thresholds, {self.graph})"
        return (
            f"Acdc({len(self):,} of {self.graph.size:,} edges, metric {float(self.metric):.4g}; all edges "
            f"{float(self.full):.4g}, none {float(self.empty):.4g})"
        )
