"""Documents cut into contexts of one length."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._text import check_tokenizer
from ._corpus import TextCorpus
from ._document import Document, as_document


def pack(
    tokenizer: Any,
    documents: Iterable[Any],
    *,
    ctx: int,
    bos: bool = True,
    join: bool = False,
    least: int = 1,
    most: int | None = None,
) -> TextCorpus:
    r"""$(d_1, d_2, \dots) \mapsto t \in \{0..V-1\}^{n \times c}$: documents cut into contexts.

    **Arguments:**

    - `tokenizer`: a tokenizer of `ji.load`, a `tokenizers.Tokenizer`, or an object with
      `with_offsets(text) -> (ids, offsets)` and a `bos_id`.
    - `documents`: texts, `Document`s, or `(text, label)` pairs.
    - `ctx`: tokens in a context, BOS included.
    - `bos`: every context begins with BOS; it is real, but does not count.
    - `join`: with False each context holds tokens of one document, and the last context of a document is padded on
      the right. With True documents follow each other, with a BOS between them (if `bos`), so that every context is
      full; tokens that do not fill the last context are left out.
    - `least`: contexts of fewer tokens are left out.
    - `most`: stop at so many contexts.

    **Returns:** a `Corpus`.

    **Raises:** `ValueError` for no documents, a context too short, spans beyond their text, or a
    tokenizer without BOS.

    ```python
    model, tokenizer = ji.load("tiny")
    corpus = ji.data.pack(tokenizer, [("Das ist gut.", "de"), ("This is good.", "en")], ctx=16)
    corpus.tokens.shape                                  # (2, 16)
    ```

    Law: the tokens of a document, read off its contexts in order, are those of its text.
    """
    ctx, bos = int(ctx), bool(bos)
    if ctx < 1 + bos:
        raise ValueError(f"A context holds at least one token{' beside BOS' if bos else ''}; got ctx={ctx}.")
    if tokenizer is None or isinstance(tokenizer, str | tuple) or hasattr(tokenizer, "config"):
        check_tokenizer(tokenizer, "ji.data.pack(tokenizer, texts, ctx=128)", "with_offsets")
    start = getattr(tokenizer, "bos_id", None) if bos else None
    if bos and start is None:
        raise ValueError("This tokenizer has no bos_id: call pack(..., bos=False).")
    if isinstance(documents, str):
        raise ValueError("documents is a list of texts; got one text. Write [text].")
    given = tuple(as_document(d, i) for i, d in enumerate(documents))
    if not given:
        raise ValueError("There are no documents to pack.")
    width = ctx - bos
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    waiting_count = 0
    for d, document in enumerate(given):
        if most is not None and len(rows) >= most:
            break
        ids, offsets = _encode(tokenizer, document.text, d)
        owner = np.full(len(ids), d, np.int32)
        if not join:
            rows += [
                (ids[i : i + width], offsets[i : i + width], owner[i : i + width])
                for i in range(0, len(ids), width)
                if len(ids[i : i + width]) >= least
            ]
            continue
        if waiting_count and bos:
            waiting.append(
                (np.asarray([start], np.int32), np.zeros((1, 2), np.int32), np.asarray([-1], np.int32))
            )
            waiting_count += 1
        waiting.append((ids, offsets, owner))
        waiting_count += len(ids)
        if waiting_count >= width:
            whole = [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
            full = waiting_count // width * width
            rows += [tuple(x[i : i + width] for x in whole) for i in range(0, full, width)]  # type: ignore[misc]
            waiting, waiting_count = (
                ([tuple(x[full:] for x in whole)] if waiting_count > full else []),
                waiting_count - full,
            )  # type: ignore[list-item]
    rows = [row for row in rows if (row[2] >= 0).any()][:most]
    if not rows:
        raise ValueError(
            f"No context came out: the documents are shorter than {'one context' if join else 'least='}"
            f" ({width if join else least} tokens). Give more text, or a smaller {'ctx=' if join else 'least='}."
        )
    return _arranged(rows, ctx, start, given)


def _arranged(rows: Any, ctx: int, start: int | None, documents: tuple[Document, ...]) -> TextCorpus:
    shape, first = (len(rows), ctx), int(start is not None)
    tokens = np.full(shape, start or 0, np.int32)
    real, document = np.zeros(shape, bool), np.full(shape, -1, np.int32)
    offsets = np.zeros((*shape, 2), np.int32)
    real[:, :first] = True
    for i, (ids, spans, owner) in enumerate(rows):
        here = slice(first, first + len(ids))
        tokens[i, here], offsets[i, here], document[i, here] = ids, spans, owner
        real[i, here] = True
    return TextCorpus(tokens, real, document >= 0, document, offsets, documents)


def _encode(tokenizer: Any, text: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and for each token its characters, without the spaces around them."""
    if hasattr(tokenizer, "with_offsets"):
        ids, offsets = tokenizer.with_offsets(text)
    elif hasattr(tokenizer, "encode"):
        found = tokenizer.encode(text, add_special_tokens=False)
        if not hasattr(found, "offsets"):
            raise ValueError("This tokenizer's encode gives no offsets; use a tokenizers.Tokenizer.")
        ids, offsets = found.ids, found.offsets
    else:
        raise ValueError(
            f"A tokenizer here has with_offsets(text) or encode(text); got {type(tokenizer).__name__}."
        )
    ids = np.asarray(ids, np.int32)
    if not len(ids):
        raise ValueError(f"Document {number} has no token: {text[:40]!r}.")
    offsets = np.asarray(offsets, np.int32).reshape(-1, 2).copy()
    space = np.asarray([c.isspace() for c in text] + [False])
    for pair in offsets:
        start, end = pair
        while start < end and space[start]:
            start += 1
        while end > start and space[end - 1]:
            end -= 1
        if start < end:  # tokens of nothing but space keep it
            pair[:] = start, end
    return ids, offsets
