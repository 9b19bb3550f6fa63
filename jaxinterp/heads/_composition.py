"""The pairs of heads that compose most."""

import dataclasses

import numpy as np

from .._deprecations import respelled
from .._tabular import Record, Tabular
from ..typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class Composed(Tabular):
    """One pair of heads: `reader` reads what `writer` writes.

    ```python
    pair = ji.heads.strongest(ji.heads.composition(model, "k"), 1)[0]
    pair.writer, pair.reader, pair.score
    ```
    """

    writer: tuple[int, int]
    "(layer, head) of the head that writes."
    reader: tuple[int, int]
    "(layer, head) of the head that reads."
    score: float
    "The entry of the table."

    def records(self) -> list[Record]:
        """One row: the two heads by name, and the score."""
        writer, reader = (".".join(map(str, head)) for head in (self.writer, self.reader))
        return [{"writer": writer, "reader": reader, "score": float(self.score)}]

    def __repr__(self) -> str:
        (a, b), (c, d) = self.writer, self.reader
        return f"{a}.{b} -> {c}.{d} ({self.score:.3f})"


@respelled(n="top=")
def strongest(
    scores: ArrayLike,
    top: int = 10,
    *,
    reader: tuple[int, int] | None = None,
    writer: tuple[int, int] | None = None,
) -> list[Composed]:
    r"""The `top` largest entries of a table (layer, head, layer, head), writer first.

    **Arguments:**

    - `scores`: the table of `ji.heads.composition`, or any table of that form, such as that of a path
      patch.
    - `top`: how many pairs at most; 10 by default.
    - `reader`, `writer`: the (layer, head) of the only reader or writer to list; None (the default):
      all of them.

    **Returns:** a list of `Composed`, largest first, without entries of 0 and NaN.

    **Raises:** ValueError for a table of other axes.

    ```python
    ji.heads.strongest(ji.heads.composition(model, "k"), 5)
    ji.heads.strongest(ji.heads.composition(model, "k"), 5, reader=(3, 1))
    ```

    Law: the first is the table's maximum.
    """
    table = np.asarray(scores)
    if table.ndim != 4 or table.shape[:2] != table.shape[2:]:
        raise ValueError(
            "A table of composition has the axes (layer, head, layer, head), writer first; got the "
            f"shape {table.shape}. Write ji.heads.strongest(ji.heads.composition(model, 'k'))."
        )
    values = np.nan_to_num(table, nan=0.0).astype(np.float64)
    if writer is not None:
        only = np.zeros_like(values)
        only[tuple(writer)] = values[tuple(writer)]
        values = only
    if reader is not None:
        only = np.zeros_like(values)
        only[(..., *reader)] = values[(..., *reader)]
        values = only
    order = np.argsort(-values, axis=None, kind="stable")[:top]
    where = np.stack(np.unravel_index(order, values.shape), -1).tolist()
    return [
        Composed((a, b), (c, d), float(table[a, b, c, d])) for a, b, c, d in where if values[a, b, c, d] > 0
    ]
