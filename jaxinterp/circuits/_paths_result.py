"""The result of `direct_paths`: edges by sender and receiver."""

import dataclasses
import sys
from collections.abc import Iterator

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._tabular import Record, Tabular

KINDS = ("q", "k", "v", "mlp", "logits")


class Edges(eqx.Module):
    """The metric with one edge patched: the axes of the senders first, then the axes of the receivers.

    - `q` `(*sender, layer, head)`, `k` and `v` `(*sender, layer, kv_head)`: edges into the queries, keys and values
      of heads.
    - `mlp` `(*sender, layer)`: edges into MLPs. `logits` `(*sender,)`: edges into the unembedding.

    A number is NaN where there is no edge. A field is None where these receivers were not requested.

    ```python
    paths = ji.circuits.direct_paths(model, clean, corrupt, metric, receivers="logits")
    paths.heads.logits, paths.mlps.logits           # (layer, head), (layer,)
    ```
    """

    q: Array | None
    k: Array | None
    v: Array | None
    mlp: Array | None
    logits: Array | None


class DirectPaths(Tabular, eqx.Module):
    """The metric with one edge patched, for all edges: what `ji.circuits.direct_paths` returns.

    - `heads`, `mlps`, `embed`: the `Edges` of the senders `(layer, head)`, `(layer,)` and `()`.
    - `q`, `k`, `v`, `mlp`, `logits`: the edges of heads. `paths.k[0, 1, 2, 3]` is the metric when the keys of head
      2.3 read what head 0.1 wrote in the other run.
    - `baseline`: the metric of the unpatched run.

    With `per_example` the last axes are the examples.

    ```python
    paths = ji.circuits.direct_paths(model, clean, corrupt, metric, receivers="logits")
    paths.logits - paths.baseline                   # (layer, head)
    print(paths.top(5))
    ```
    """

    heads: Edges | None
    mlps: Edges | None
    embed: Edges | None
    baseline: Array

    def records(self) -> list[Record]:
        """A row for each edge, the largest effect first; with several examples, the mean over them."""
        return self.top(sys.maxsize).records()

    @property
    def q(self) -> Array | None:
        """Head to queries, `(layer, head, layer, head)`."""
        return None if self.heads is None else self.heads.q

    @property
    def k(self) -> Array | None:
        """Head to keys, `(layer, head, layer, kv_head)`."""
        return None if self.heads is None else self.heads.k

    @property
    def v(self) -> Array | None:
        """Head to values, `(layer, head, layer, kv_head)`."""
        return None if self.heads is None else self.heads.v

    @property
    def mlp(self) -> Array | None:
        """Head to MLP, `(layer, head, layer)`."""
        return None if self.heads is None else self.heads.mlp

    @property
    def logits(self) -> Array | None:
        """Head to logits, `(layer, head)`."""
        return None if self.heads is None else self.heads.logits

    def top(self, n: int = 10) -> "EdgeList":
        """The edges whose patch moves the metric most, in either direction: a table."""
        rows = []
        batch = self.baseline.ndim
        baseline = float(self.baseline.mean())
        for name, rank in (("heads", 2), ("mlps", 1), ("embed", 0)):
            edges = getattr(self, name)
            for kind in KINDS if edges is not None else ():
                values = getattr(edges, kind)
                if values is None:
                    continue
                values = np.asarray(values, np.float64)
                values = values.mean(tuple(range(values.ndim - batch, values.ndim)))
                for index in np.argwhere(np.isfinite(values)):
                    sender, receiver = index[:rank].tolist(), index[rank:].tolist()
                    value = float(values[tuple(index)])
                    rows.append(Edge(_sender(sender), _receiver(kind, receiver), value, value - baseline))
        rows.sort(key=lambda row: -abs(row.effect))
        return EdgeList(tuple(rows[:n]), baseline)

    def __repr__(self) -> str:
        parts = [
            f"{name}.{kind}{list(values.shape)}"
            for name in ("heads", "mlps", "embed")
            if (edges := getattr(self, name)) is not None
            for kind in KINDS
            if (values := getattr(edges, kind)) is not None
        ]
        return f"DirectPaths({', '.join(parts)}, baseline{list(jnp.shape(self.baseline))})"


@dataclasses.dataclass(frozen=True)
class Edge:
    """One edge: names as `path_patch` takes them, the patched metric, and its change."""

    sender: str
    receiver: str
    value: float
    effect: float


@dataclasses.dataclass(frozen=True)
class EdgeList(Tabular):
    """Edges in an order; prints as a table, and iterates over `Edge`."""

    rows: tuple[Edge, ...]
    baseline: float

    def records(self) -> list[Record]:
        """A row for each edge: `sender`, `receiver`, the patched metric `value`, and its change `effect`."""
        return [dataclasses.asdict(row) for row in self.rows]

    def __iter__(self) -> Iterator[Edge]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Edge:
        return self.rows[index]

    def __repr__(self) -> str:
        table = [("sender", "receiver", "metric", "effect")]
        table += [(e.sender, e.receiver, f"{e.value:.4f}", f"{e.effect:+.4f}") for e in self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            "  ".join(
                cell.rjust(width) if i > 1 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        return "\n".join([*lines, f"unpatched: {self.baseline:.4f}"])


def _sender(index: list[int]) -> str:
    return {0: "embed", 1: "mlp{0}", 2: "{0}.{1}"}[len(index)].format(*index)


def _receiver(kind: str, index: list[int]) -> str:
    return (
        kind if kind == "logits" else f"mlp{index[0]}" if kind == "mlp" else f"{index[0]}.{index[1]}.{kind}"
    )
