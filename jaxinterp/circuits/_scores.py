"""Scores of edges, and tables of the strongest."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_int, concrete
from .._tabular import Tabular
from ..patching._attribution_check import Agreement, agreement
from ..stats._results import Record, Result
from ..typing import FloatLike, IntLike, StrLike
from ._graph import Graph
from ._numbering import places_of
from ._paths_result import DirectPaths

if TYPE_CHECKING:
    from ..viz import Figure


class Scores(Result, eqx.Module):
    r"""$s : E \to \mathbb{R}$: the change of the metric when an edge carries the other value.

    - `values` `(edge,)`: one number for each edge, in the order of `graph.edges`. Positive: cutting the edge
      raises the metric.
    - `graph`: the `Graph` that says which edge is which.

    Scores of equal graphs add up, and are multiplied and divided by numbers: `sum(several) / len(several)` is the
    mean of batches of one size. A rank is by magnitude.

    ```python
    scores = ji.circuits.eap(model, clean, corrupt, metric, steps=8)
    print(scores.top(10))
    scores.of("embed->mlp0"), scores.matrix().shape
    ```

    Law: `scores.matrix()` holds each value once, and NaN where there is no edge.
    """

    values: Float[Array, " edge"]
    graph: Graph = eqx.field(static=True)

    @property
    def order(self) -> np.ndarray:
        """The numbers of the edges, the largest magnitude first; equal ones in the order of the graph."""
        return np.argsort(-np.abs(np.asarray(self.values)), kind="stable")

    def top(self, n: IntLike = 10) -> "EdgeTable":
        """The edges of the largest scores, in either direction: a table that prints.

        **Arguments:**

        - `n`: how many; 10 by default.
        """
        values, names = np.asarray(self.values, np.float64), self.graph.edges
        chosen = self.order[: as_int(n, "n", 1)]
        rows = tuple(ScoredEdge(names[i], float(values[i])) for i in chosen)
        return EdgeTable(rows, len(names))

    def of(self, edge: str) -> Float[Array, "*pos"]:
        """The score of an edge by name; with positions and no `@`, one for each position.

        `"mlp3->logits"` in a graph with neurons of layer 3 gives one for each of its parts.

        **Arguments:**

        - `edge`: a name such as `"0.1->1.3.k"`, or `"0.1->1.3.k@5"`.

        **Raises:** ValueError for a name that is no edge.
        """
        found = self.values[self.graph.find(edge)]
        return found[0] if found.shape == (1,) else found

    def matrix(self) -> Float[Array, "sender receiver *pos"]:
        """Scores by sender and receiver, in the order of `graph.senders` and `graph.receivers`; NaN where no edge is."""
        graph = self.graph
        pairs = graph.pairs
        pos = () if graph.pos is None else (graph.pos,)
        values = self.values.reshape(len(pairs), *pos)
        empty = jnp.full((len(graph.senders), len(graph.receivers), *pos), jnp.nan, values.dtype)
        return empty.at[pairs[:, 0], pairs[:, 1]].set(values)

    def agreement(self, paths: DirectPaths, *, top: IntLike = 10) -> Agreement:
        r"""$\rho(\mathrm{rank}\,|s|, \mathrm{rank}\,|\Delta m|)$: estimates beside the exact effects of single edges.

        **Arguments:**

        - `paths`: `ji.circuits.direct_paths(model, clean, corrupt, metric, mode="noise")` on the same prompts;
          edges of other modes are other numbers.
        - `top`: how many of the strongest exact edges are to be found.

        **Returns:** what `ji.patching.agreement` returns; it prints as a line.

        **Raises:** ValueError where both have no edge in common.

        ```python
        paths = ji.circuits.direct_paths(model, clean, corrupt, metric, mode="noise")
        print(scores.agreement(paths))
        ```

        Law: where the metric is linear in every edge, all is 1.
        """
        if self.graph.pos is not None:
            raise ValueError(
                "Direct paths are of all positions together: sum the scores of a graph without positions, "
                "ji.circuits.eap(..., graph=ji.circuits.graph(model))."
            )
        values = np.asarray(self.values, np.float64)
        edges = [
            (places_of(self.graph, edge.sender, edge.receiver), edge.effect)
            for edge in paths.top(self.graph.size + 1)
        ]
        # To first order an MLP does what its neurons do together.
        pairs = [(values[places].sum(), effect) for places, effect in edges if places.size]
        if len(pairs) < 2:
            raise ValueError(
                f"These paths and scores have {len(pairs)} edges in common. Take paths into queries, keys, values, "
                "MLPs or logits, and a graph with the options of ji.circuits.graph(model)."
            )
        estimate, exact = np.asarray(pairs).T
        return agreement(estimate, exact, baseline=0.0, top=top)

    def records(self) -> list[Record]:
        """One row an edge: `sender`, `receiver`, `pos` where the graph has positions, and `score`."""
        names, values = self.graph.edges, np.asarray(self.values, np.float64).tolist()
        return [_record(names[i], values[i]) for i in self.order]

    def figure(self, *, top: IntLike = 100, how: StrLike = "graph") -> "Figure":
        """The strongest edges as a layered graph, or as a matrix (`how="matrix"`); see `ji.circuits.figure`."""
        from ._drawing import figure

        return figure(self, top=top, how=how)

    def _repr_html_(self) -> str:
        from ..viz import table

        top = self.top(10)
        rows = [[edge.name, f"{edge.score:+.4f}"] for edge in top]
        caption = f"{len(top)} of {len(self.values):,} edges; .records() has all."
        return table(["edge", "score"], rows, title="Scores", caption=caption)._repr_html_()

    def __add__(self, other: "Scores | int") -> "Scores":
        if isinstance(other, int) and other == 0:  # what sum(...) begins with
            return self
        if not isinstance(other, Scores) or other.graph != self.graph:
            raise ValueError(f"Scores of one graph are added; got {self} and {other}.")
        return Scores(self.values + other.values, self.graph)

    def __mul__(self, factor: FloatLike) -> "Scores":
        return Scores(self.values * factor, self.graph)

    def __truediv__(self, divisor: FloatLike) -> "Scores":
        return Scores(self.values / divisor, self.graph)

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        if not concrete(self.values) or self.values.ndim != 1:
            return f"Scores(values{list(self.values.shape)}, {self.graph})"
        return (
            f"Scores({len(self.values):,} edges, of magnitude up to {float(jnp.abs(self.values).max()):.4g})"
        )


@dataclasses.dataclass(frozen=True)
class ScoredEdge:
    """One edge: its name, as `graph.mask` takes it, and its score.

    ```python
    strongest = scores.top(10)[0]
    strongest.name, strongest.score
    ```
    """

    name: str
    score: float


@dataclasses.dataclass(frozen=True)
class EdgeTable(Tabular):
    """Edges in an order, such as `scores.top(10)`. It prints as a table, and iterates over `ScoredEdge`.

    ```python
    table = scores.top(10)
    [(edge.name, edge.score) for edge in table]
    circuit = graph.mask(table.names)
    ```
    """

    rows: tuple[ScoredEdge, ...]
    of: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the edges: `graph.mask(scores.top(10).names)`."""
        return tuple(row.name for row in self.rows)

    def records(self) -> list[Record]:
        """A row for each edge."""
        return [_record(row.name, row.score) for row in self.rows]

    def __iter__(self) -> Iterator[ScoredEdge]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ScoredEdge:
        return self.rows[index]

    def __repr__(self) -> str:
        cells = [("edge", "score"), *((row.name, f"{row.score:+.4f}") for row in self.rows)]
        left, right = (max(len(cell[i]) for cell in cells) for i in range(2))
        lines = [f"{name.ljust(left)}  {score.rjust(right)}" for name, score in cells]
        return "\n".join([*lines, f"{len(self.rows)} of {self.of:,} edges"])


def _record(name: str, score: float) -> dict[str, Any]:
    edge, _, at = name.partition("@")
    sender, _, receiver = edge.partition("->")
    return {"sender": sender, "receiver": receiver, **({"pos": int(at)} if at else {}), "score": score}
