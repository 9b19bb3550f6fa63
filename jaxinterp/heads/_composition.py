"""The pairs of heads that compose most, by name."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Composed:
    """One pair: what head `writer` writes, head `reader` reads."""

    writer: tuple[int, int]
    reader: tuple[int, int]
    score: float

    def __repr__(self) -> str:
        (a, b), (c, d) = self.writer, self.reader
        return f"{a}.{b} -> {c}.{d} ({self.score:.3f})"


def strongest(scores: Any, n: int = 10, *, reader: Any = None, writer: Any = None) -> list[Composed]:
    r"""The `n` largest entries of a table (layer, head, layer, head), writer first.

    **Arguments:** `scores`: of `ji.heads.composition`, or any table of that form, such as that of a
    path patch; `reader`, `writer`: a (layer, head) to look at alone.

    **Returns:** a list of `Composed`, largest first; entries of 0 and NaN are left out.

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
    kept = np.nan_to_num(table, nan=0.0).astype(np.float64)
    if writer is not None:
        only = np.zeros_like(kept)
        only[tuple(writer)] = kept[tuple(writer)]
        kept = only
    if reader is not None:
        only = np.zeros_like(kept)
        only[(..., *reader)] = kept[(..., *reader)]
        kept = only
    order = np.argsort(-kept, axis=None, kind="stable")[:n]
    where = np.stack(np.unravel_index(order, kept.shape), -1).tolist()
    return [
        Composed((a, b), (c, d), float(table[a, b, c, d])) for a, b, c, d in where if kept[a, b, c, d] > 0
    ]
