"""The result of `acdc`: a circuit that knows how the metric changed with each edge."""

from typing import TYPE_CHECKING

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..stats._results import Record, records_frame, records_html
from ._circuit import Circuit

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra


class Acdc(Circuit):
    r"""A `Circuit` found by `ji.circuits.acdc`; with several thresholds `*n` is their axis.

    - `mask` `(*n, edge)`, `graph`: of the circuit.
    - `deltas` `(*n, edge)`: $\delta$, by how much the metric changed when the edge was cut: positive, it rose.
      It is 0 at edges that lead nowhere.
    - `threshold` `(*n,)`: $\tau$.
    - `metric` `(*n,)`: of the circuit; `full`, `empty`: of the model with all of its edges, and with none.
    - `runs`: how many circuits ran; `goal`: see `AcdcSettings`.
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

    def to_pandas(self) -> "pandas.DataFrame":
        """The records as a pandas DataFrame. Needs `pip install pandas`."""
        return records_frame(self.records())

    def _repr_html_(self) -> str:
        return records_html(self.records(), repr(self))

    def __repr__(self) -> str:
        if self.mask.ndim != 1:
            return f"Acdc({self.mask.shape[0]} thresholds, {self.graph})"
        return (
            f"Acdc({len(self):,} of {self.graph.size:,} edges, metric {float(self.metric):.4g}; all edges "
            f"{float(self.full):.4g}, none {float(self.empty):.4g})"
        )
