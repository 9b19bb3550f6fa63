"""What a corpus is: rows of tokens, which of them are real, which count, and what is known of them."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np

from ..core._check import as_array, as_int32, check_mask
from ..typing import AnyCorpus, CorpusLike, IndexLike, MaskLike
from ._fingerprint import fingerprint
from ._positions import as_positions
from ._stored_tokens import TokenRows, is_stored

SAMPLED = 256  # rows of tokens on disk that a content hash reads


class Corpus(Protocol):
    """The protocol of corpora: rows of tokens with a mask, documents and labels, which `ji.corpus.fold` reads.

    - `tokens` `(row, pos)`: int32 ids, an array, or `TokenRows` that reads rows from disk;
    - `mask` `(row, pos)`: True at real tokens, False at padding;
    - `positions` `(row, pos)`: True at the tokens that count, all of them real;
    - `document` `(row, pos)`: the number of the document of each token, -1 where there is none;
    - `labels` `(row,)`: the label of each row's document, or None for each;
    - `content_hash`: equal for equal tokens, masks and positions;
    - `len(corpus)`: the number of rows.

    `ji.data.pack` makes a corpus from texts, and `ji.corpus.as_corpus` from arrays.

    ```python
    len(corpus), corpus.labels, corpus.mask.sum()
    corpus.tokens[corpus.positions]                     # the ids that count
    ```
    """

    @property
    def tokens(self) -> np.ndarray | TokenRows: ...
    @property
    def mask(self) -> np.ndarray: ...
    @property
    def positions(self) -> np.ndarray: ...
    @property
    def document(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def content_hash(self) -> str: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """A `Corpus` of arrays; made by `as_corpus`.

    - `tokens`, `mask` `(row, pos)`: the token ids, and True at real tokens.
    - `positions` `(row, pos)`: True at the tokens that count.
    - `document` `(row, pos)`, `labels`: the document of each token, and the labels.

    ```python
    made = ji.corpus.as_corpus(tokens)
    len(made), made.mask.sum()
    ```
    """

    tokens: np.ndarray | TokenRows
    mask: np.ndarray
    positions: np.ndarray
    document: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        rows, pos = self.tokens.shape
        return f"TokenCorpus({rows} rows of {pos}, {int(self.positions.sum())} tokens that count)"

    @property
    def content_hash(self) -> str:
        """Equal for equal tokens, masks and positions."""
        return content_hash(self)


def as_corpus(
    tokens: CorpusLike, *, mask: MaskLike | None = None, positions: IndexLike | None = None
) -> AnyCorpus:
    r"""$(t, m, P) \mapsto$ a `Corpus` from tokens t, the mask m of real tokens, and the positions P that count.

    **Arguments:**

    - `tokens`: ids `(row, pos)` or `(pos,)`; ids in a memory-mapped file or an array of tensorstore,
      which stay on disk; a pair `(tokens, mask)`; or a `Corpus`, which has a mask of its own.
    - `mask` `(row, pos)`: True at real tokens, as a tokenizer returns it. By default all are real.
    - `positions`: the positions that count. Bools `(row, pos)`, or `(pos,)` for every row; ints `(n,)` or a slice,
      which count the real tokens of each row (`slice(1, None)` leaves out the first, `-1` is the
      last); or ints per row `(row, n)`, the columns. By default every real token, or the positions of the given
      `Corpus`.

    **Returns:** a `Corpus`.

    **Raises:** `ValueError` or `IndexError` for other shapes and dtypes, for a mask that is no
    padding, and for positions that are padding.

    ```python
    corpus = ji.corpus.as_corpus([[5, 3, 2], [7, 1, 0]], mask=[[True] * 3, [True, True, False]])
    len(corpus), int(corpus.positions.sum())            # (2, 5)
    ```

    Laws: a `Corpus` is returned as it is; a pair is its tokens with that mask.
    """
    if is_corpus(tokens):
        if mask is not None:
            raise ValueError(
                "A Corpus has its own mask of real tokens, corpus.mask; drop mask=. What counts is positions=."
            )
        return tokens if positions is None else counting(tokens, positions)
    if mask is None and isinstance(tokens, tuple) and len(tokens) == 2 and _is_mask(tokens[1]):
        tokens, mask = tokens
    ids = TokenRows(tokens) if is_stored(tokens) else as_rows(tokens)
    shape = (int(ids.shape[0]), int(ids.shape[1]))
    if not shape[0]:
        raise ValueError("There is no sequence to run: tokens has the shape (0, pos).")
    real = np.broadcast_to(np.True_, shape) if mask is None else as_padding(mask, shape)
    numbers = np.broadcast_to(np.arange(shape[0], dtype=np.int32)[:, None], shape)
    document = numbers if mask is None else np.where(real, numbers, np.int32(-1))
    counted = real if positions is None else as_positions(positions, real)
    return TokenCorpus(ids, real, counted, document, np.full(shape[0], None, object))


def _is_mask(value: Any) -> bool:
    """Whether this is an array of bools, as the second of a pair `(tokens, mask)`."""
    return np.asarray(value).dtype == bool and np.ndim(value) > 0


def counting(corpus: AnyCorpus, positions: IndexLike) -> AnyCorpus:
    """The same corpus, where `positions` count: bools, ints or a slice, as in `as_corpus`."""
    counted = as_positions(positions, corpus.mask)
    return TokenCorpus(corpus.tokens, corpus.mask, counted, corpus.document, _labels(corpus))


def select(corpus: AnyCorpus, rows: np.ndarray) -> TokenCorpus:
    """Some rows of a corpus, read into memory."""
    labels = _labels(corpus)
    parts = (corpus.tokens, corpus.mask, corpus.positions, corpus.document, labels)
    return TokenCorpus(*(np.asarray(part[rows]) for part in parts))


def is_corpus(value: Any) -> TypeGuard[AnyCorpus]:
    """Whether a value is a `Corpus`."""
    return all(hasattr(value, name) for name in ("tokens", "mask", "positions", "document"))


def as_rows(tokens: Any) -> np.ndarray:
    """Ids `(row, pos)`, int32, one context to a row."""
    ids = np.asarray(as_array(tokens))
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"Tokens are int ids (row, pos), one context to a row; got the shape {ids.shape} of "
            f"{ids.dtype}. From texts: ji.data.pack(tokenizer, texts, ctx=64). With a mask: "
            "ji.corpus.as_corpus(tokens, mask=mask)."
        )
    return np.asarray(as_int32(ids, "A token id"))


def as_padding(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """A mask `(row, pos)` whose real tokens stand in one run in each row, with padding on one side."""
    real = np.asarray(as_array(mask))
    real = real[None] if real.ndim == 1 and shape[0] == 1 else real
    check_mask(real, shape)
    first = real.argmax(-1)
    last = shape[1] - real[:, ::-1].argmax(-1)
    one_side = (real.sum(-1) == last - first) & ((first == 0) | (last == shape[1]))
    # Padding fits the longest row, so some row begins at column 0.
    if not one_side.all() or first.min() > 0:
        row = int(np.argmin(one_side)) if not one_side.all() else 0
        raise ValueError(
            "mask is True at real tokens, and padding stands at one end of a row, with some row that begins "
            f"in the first column; row {row} is otherwise. To choose which real tokens count, write "
            "positions=chosen instead, and mask=padding_mask where there is padding."
        )
    return real


def content_hash(corpus: AnyCorpus) -> str:
    """SHA-256 of tokens, mask and positions; of tokens on disk the shape and rows from end to end."""
    flat = lambda x: x if x.strides[0] else x[:1]  # a mask that all rows share
    return fingerprint(tokens_hash(corpus.tokens), flat(corpus.mask), flat(corpus.positions))


def tokens_hash(tokens: Any) -> str:
    """SHA-256 of ids in memory; of ids on disk that of their shape and some rows from end to end."""
    if isinstance(tokens, TokenRows):
        rows = np.unique(np.linspace(0, tokens.shape[0] - 1, SAMPLED).astype(int))
        return fingerprint(list(tokens.shape), tokens[rows])
    return fingerprint(np.asarray(tokens))


def _labels(corpus: AnyCorpus) -> np.ndarray:
    try:
        return corpus.labels
    except ValueError:  # rows of several documents have no label
        return np.full(len(corpus), None, object)
