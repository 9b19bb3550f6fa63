"""What `correlations` returns: the best matches of each unit, and the matrix where it is held."""

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import viz
from .._arguments import as_int
from ..stats._results import Record, Result
from ..typing import IntLike
from ._units import named


class Matches(NamedTuple):
    """The best matches of each unit of the first side: `values (unit, k)`, falling, and `partners
    (unit, k)`, their columns in the matrix.

    ```python
    matches = ji.neurons.correlations(x, y).top(3)
    matches.values, matches.partners
    ```
    """

    values: np.ndarray
    partners: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Correlations(Result):
    """How similar the units of two streams are; made by `ji.neurons.correlations`.

    ```python
    found = ji.neurons.correlations(x, y)
    found.matrix.shape, found.top(3).partners
    ```
    """

    values: np.ndarray
    "The largest entries of each row of the matrix, falling, `(unit, top)`."
    partners: np.ndarray
    "Their columns, `(unit, top)`; of equal ones the first."
    units: np.ndarray
    "Layer and number of each unit of the first side, `(unit, 2)`: the rows of the matrix."
    others: np.ndarray
    "Layer and number of each unit of the second side: the columns."
    tokens: int
    "How many tokens were read."
    measure: str
    "The name of the measure."
    rank_error: float
    "How far a rank may be from that among all tokens, as a share of them (95%); 0 where ranks are exact."
    baseline: np.ndarray | None = None
    "The largest entry of each row with the baseline's units, `(unit,)`; None without a baseline."
    entries: np.ndarray | None = None
    "The matrix, where it fits in `max_bytes`; read it as `.matrix`."

    @property
    def matrix(self) -> np.ndarray:
        """All entries, `(unit, other)` in float32. **Raises:** ValueError where they were not held."""
        if self.entries is None:
            size = 4 * len(self.units) * len(self.others)
            raise ValueError(
                f"The matrix of {len(self.units)} by {len(self.others)} units takes {size:,} bytes, more than "
                f"max_bytes, so only the best {self.values.shape[1]} of each row were kept: .top(k). For all of "
                f"it: max_bytes={size}."
            )
        return self.entries

    @property
    def excess(self) -> np.ndarray:
        """The largest entry of each row minus its baseline. Gurnee et al. call a neuron universal above 0.5."""
        if self.baseline is None:
            raise ValueError(
                "The excess needs a baseline: ji.neurons.correlations(..., baseline='rotation', "
                "key=jax.random.key(0))."
            )
        return self.values[:, 0] - self.baseline

    def top(self, k: IntLike = 1) -> Matches:
        """The k best matches of each unit of the first side.

        **Raises:** ValueError for more than were kept, where the matrix is not held.
        """
        k = as_int(k, "k, the number of matches of each unit,", 1)
        if k <= self.values.shape[1]:
            return Matches(self.values[:, :k], self.partners[:, :k])
        if k > len(self.others):
            raise ValueError(f"There are {len(self.others)} units to match with; got k={k}.")
        if self.entries is None:
            raise ValueError(
                f"The best {self.values.shape[1]} matches of each unit were kept, for the matrix did not fit in "
                f"max_bytes; for {k} of them give max_bytes={4 * len(self.units) * len(self.others)}."
            )
        order = np.argsort(-self.entries, 1, kind="stable")[:, :k]
        return Matches(np.take_along_axis(self.entries, order, 1), order.astype(np.int32))

    def records(self) -> list[Record]:
        """A row for each unit of the first side: its name, its best match, and the excess where there is one."""
        mine, theirs = named(self.units), named(self.others)
        rows: list[Record] = []
        for i, one in enumerate(mine):
            row: Record = {
                "unit": one,
                "partner": theirs[self.partners[i, 0]],
                self.measure: float(self.values[i, 0]),
            }
            if self.baseline is not None:
                row |= {"baseline": float(self.baseline[i]), "excess": float(self.excess[i])}
            rows.append(row)
        return rows

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """How the best matches are distributed over units, beside the baseline's.

        **Arguments:**

        - `title`, `caption`: texts; by default the measure, and none.
        """
        edges = np.linspace(-1 if self.values[:, 0].min() < 0 else 0, 1, 51)
        counts = {"best match": np.histogram(self.values[:, 0], edges)[0]}
        if self.baseline is not None:
            counts["baseline"] = np.histogram(self.baseline, edges)[0]
        return viz.histogram(
            counts,
            edges,
            title=title or f"Best matches of {len(self.units)} units",
            x_axis=self.measure,
            y_axis="share of units",
            caption=caption,
        )
