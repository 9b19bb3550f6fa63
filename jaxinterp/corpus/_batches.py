"""The rows of a corpus in batches of one shape, each with a number."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..core._captures import At
from ..core._check import check_tokens
from ..core._intervene import config_of
from ..mesh._rows import row_parts, rows_on
from ..typing import AnyCorpus
from ._size import as_batch_size, fitting

LARGEST = 32  # rows of a batch by default, at most


class Batch(NamedTuple):
    """Some rows of a corpus, as arrays on the device: the second argument of the step of `ji.corpus.fold`.

    - `number` `()`: the number of the batch, from 0;
    - `rows` `(row,)`: the numbers of the rows in the corpus;
    - `tokens` `(row, pos)`: int32 ids;
    - `mask` `(row, pos)`: True at real tokens;
    - `positions` `(row, pos)`: True at tokens that count, and nowhere in a row that only fills up a batch;
    - `padding`: `mask` where the model needs it, and None where it does not, because padding on the
      right changes nothing before it;
    - `extra`: the rows of the arrays given as `extra=`, or None.

    ```python
    count = lambda total, batch, acts: total + batch.positions.sum()
    ji.corpus.fold(corpus, model, [], 0, count)         # how many tokens count
    ```
    """

    number: Any
    rows: Any
    tokens: Any
    mask: Any
    positions: Any
    padding: Any
    extra: Any


class CorpusBatches:
    """Every row of a corpus where something counts, in its order: `len` batches, `batches[i]`.

    The last batch is filled up with repetitions of its last row that count nothing, so that one
    compiled program serves all.
    """

    def __init__(
        self,
        corpus: AnyCorpus,
        model: Any,
        size: int | str | None,
        *,
        extra: Any = None,
        padded: bool = False,
        width: int = 0,
        max_bytes: int | str = "auto",
        mesh: Any = None,
    ) -> None:
        """`padded`: the model is given the mask wherever there is padding; `width`: numbers that a pass
        holds for each token, from which the size "auto" follows."""
        config = config_of(model)
        self.corpus, self.mesh, self.extra = corpus, mesh, extra
        in_memory = isinstance(corpus.tokens, np.ndarray)
        check_tokens(corpus.tokens if in_memory else corpus.tokens[np.arange(1)], config)
        self.rows = np.flatnonzero(corpus.positions.any(-1)).astype(np.int32)
        if not len(self.rows):
            raise ValueError("No token of this corpus counts: corpus.positions is False everywhere.")
        most = fitting(corpus.tokens.shape[1], width, max_bytes)
        self.size = as_batch_size(size, min(most, LARGEST), len(self.rows))
        if mesh is not None:
            parts = row_parts(mesh)
            self.size = -(-self.size // parts) * parts
        for path, leaf in jax.tree_util.tree_leaves_with_path(extra):
            if np.shape(leaf)[:1] != (len(corpus),):
                raise ValueError(
                    f"extra= holds arrays with one entry for each of the {len(corpus)} rows; "
                    f"extra{jax.tree_util.keystr(path)} has the shape {np.shape(leaf)}."
                )
        real = corpus.mask
        right = bool(real[:, 0].all())  # padding stands on one side of a row
        self.gives_mask = not real.all() and (padded or not right or not config.causal)

    def __len__(self) -> int:
        return (len(self.rows) + self.size - 1) // self.size

    def rows_of(self, number: int) -> np.ndarray:
        """The numbers of the rows of a batch, without those that only fill it up."""
        if not 0 <= number < len(self):
            raise IndexError(f"There are {len(self)} batches, numbered 0..{len(self) - 1}; got {number}.")
        return self.rows[number * self.size : (number + 1) * self.size]

    def __getitem__(self, number: int) -> Batch:
        here = self.rows_of(number)
        there = np.arange(self.size) < len(here)
        rows = np.concatenate([here, np.repeat(here[-1:], self.size - len(here))])
        corpus = self.corpus
        real = corpus.mask[rows]
        return self._placed(
            Batch(
                np.int32(number),
                rows,
                np.asarray(corpus.tokens[rows]),
                real,
                corpus.positions[rows] & there[:, None],
                real if self.gives_mask else None,
                jax.tree.map(lambda leaf: _taken(np.asarray(leaf), rows), self.extra),
            )
        )

    def _placed(self, batch: Batch) -> Batch:
        if self.mesh is None:
            return jax.tree.map(jnp.asarray, batch)
        mesh = self.mesh
        return jax.tree.map(lambda leaf: rows_on(mesh, leaf) if np.ndim(leaf) else jnp.asarray(leaf), batch)


def _taken(leaf: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`leaf[rows]`, and no copy of rows that follow each other."""
    following = (np.diff(rows) == 1).all()
    return leaf[int(rows[0]) : int(rows[-1]) + 1] if following else leaf[rows]


def counts_tokens(captures: Sequence[At]) -> bool:
    """Whether captures count real tokens, so that the model must know the padding: ints, and
    reductions of all positions."""
    for request in captures:
        ints = request.pos is not None and request.pos.dtype != bool and request.pos.ndim <= 1
        if ints or (request.pos is None and request.reduce is not None):
            return True
    return False
