"""Scores of every head under several kinds, as one mapping and one table."""

from collections.abc import ItemsView, Iterator, KeysView

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._tabular import Tabular
from ..stats._results import Record


class HeadScores(Tabular, eqx.Module):
    """Scores `(layer, head)` of several kinds: `scores["induction"]`.

    It is read as a dict: `scores.items()`, `for kind in scores`, `"induction" in scores`.

    ```python
    scores = ji.heads.attention_scores(model, tokens, ["previous", "induction"])
    scores["induction"].shape, scores.records()[0]
    ```

    Law: `records` has a row for each head, with the same numbers.
    """

    by_kind: dict[str, Float[Array, "layer head"]]
    "The scores of each kind, `(layer, head)`."

    def __getitem__(self, kind: str) -> Float[Array, "layer head"]:
        if kind not in self.by_kind:
            raise KeyError(f"These scores are of {', '.join(self.by_kind)}; got {kind!r}.")
        return self.by_kind[kind]

    def keys(self) -> KeysView[str]:
        """The kinds."""
        return self.by_kind.keys()

    def items(self) -> ItemsView[str, Float[Array, "layer head"]]:
        """Kinds and their scores."""
        return self.by_kind.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_kind)

    def __len__(self) -> int:
        return len(self.by_kind)

    def __contains__(self, kind: object) -> bool:
        return kind in self.by_kind

    def records(self) -> list[Record]:
        """A row for each head: `layer`, `head`, and a number for each kind."""
        tables = {kind: np.asarray(values) for kind, values in self.items()}
        shape = next(iter(tables.values())).shape
        return [
            {"layer": layer, "head": head}
            | {kind: float(table[layer, head]) for kind, table in tables.items()}
            for layer, head in np.ndindex(*shape)
        ]

    def figure(self, *, title: str = "Scores of heads") -> viz.Figure:
        """A heat map (layer, head) for each kind, on one scale."""
        scores = {kind: np.asarray(values) for kind, values in self.items()}
        return viz.heatmaps(scores, axis_names=("layer", "head"), value="score", title=title)
