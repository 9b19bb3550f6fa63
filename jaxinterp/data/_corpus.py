"""Documents packed into contexts, every token with its document and its place in the text."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Document:
    """A text with what is known of it.

    - `label`: of the whole text (its language, its source), or None;
    - `group`: documents of one group never part in a split (chapters of a book); by default each
      is its own;
    - `spans`: `(start, end, label)` in characters.
    """

    text: str
    label: Any = None
    group: Any = None
    spans: tuple[tuple[int, int, Any], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Contexts of tokens, made by `pack`; `activations` takes it in place of tokens and masks.

    - `tokens` `(seq, pos)` int32; `real`: True at what is not padding; `mask`: at what counts,
      which leaves out BOS and separators too;
    - `document` `(seq, pos)`: which of `documents` a token is of, -1 where none;
    - `offsets` `(seq, pos, 2)`: first character and end of each token in its document, without the
      spaces around it.
    """

    tokens: np.ndarray
    real: np.ndarray
    mask: np.ndarray
    document: np.ndarray
    offsets: np.ndarray
    documents: tuple[Document, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        seq, pos = self.tokens.shape
        return (
            f"Corpus({seq} contexts of {pos}, {int(self.mask.sum())} tokens of "
            f"{len(self.documents)} documents)"
        )

    @property
    def labels(self) -> np.ndarray:
        """`(seq,)`: the label of the document of each context.

        Raises `ValueError` where a context holds documents of different labels.
        """
        out = np.empty(len(self), object)
        for i, row in enumerate(self.document):
            found = {self.documents[d].label for d in np.unique(row[row >= 0])}
            if len(found) > 1:
                raise ValueError(
                    f"Context {i} holds documents with the labels {sorted(map(str, found))}, so it "
                    "has none. Pack with join=False, or use label_of_tokens."
                )
            out[i] = found.pop()
        return out

    @property
    def groups(self) -> np.ndarray:
        """`(seq,)` ints, equal where contexts may not be parted: one document, one `group`, one text.

        Give them to `split`. Documents of the same text count as one, whatever they are called.
        """
        root = _joined(
            [
                ("group", d.group) if d.group is not None else ("number", i)
                for i, d in enumerate(self.documents)
            ],
            [d.text for d in self.documents],
            [np.unique(row[row >= 0]) for row in self.document],
        )
        first = [int(row[row >= 0][0]) for row in self.document]
        return np.unique([root[d] for d in first], return_inverse=True)[1]

    def label_of_tokens(self, label: Any) -> np.ndarray:
        """`(seq, pos)`: True at tokens of the documents with this label."""
        of = np.asarray([d.label == label for d in self.documents] + [False])
        if not of.any():
            known = sorted({str(d.label) for d in self.documents})
            raise ValueError(f"No document has the label {label!r}; there are {known}.")
        return of[self.document] & self.mask

    def spans(
        self, of: Callable[[str], Iterable[Any]] | Sequence[Any] | str, *, at: str = "all"
    ) -> np.ndarray:
        """`(seq, pos)`: True at the tokens of spans of characters.

        **Arguments:** `of`: a function from a text to spans `(start, end)`, such as those of
        `ji.data.features`; or a list of spans for every document; or a label among the documents'
        own `spans`. `at`: `"all"` tokens that share a character with a span, or those with its
        `"first"` or its `"last"` character.

        **Raises:** `ValueError` for spans that are empty or reach beyond the text.

        ```python
        corpus.spans(lambda text: [(m.start(), m.end()) for m in re.finditer("the", text)])
        ```

        Law: a token is chosen exactly where one of its characters lies in a span.
        """
        if at not in ("all", "first", "last"):
            raise ValueError(f"at is 'all', 'first' or 'last'; got {at!r}.")
        if not callable(of) and not isinstance(of, str) and len(of) != len(self.documents):
            raise ValueError(
                f"Spans come as a list for each of the {len(self.documents)} documents; got {len(of)}."
            )
        out = np.zeros(self.document.size, bool)
        flat, offsets = self.document.reshape(-1), self.offsets.reshape(-1, 2)
        order = np.argsort(flat, kind="stable")
        bounds = np.searchsorted(flat[order], np.arange(len(self.documents) + 1))
        for d, document in enumerate(self.documents):
            here = order[bounds[d] : bounds[d + 1]]
            if not len(here):
                continue
            if isinstance(of, str):
                found: Iterable[Any] = [s[:2] for s in document.spans if s[2] == of]
            else:
                found = of(document.text) if callable(of) else of[d]
            marked = np.zeros(len(document.text) + 1, np.int32)
            for start, end in found:
                _check_span(start, end, document.text, d)
                if at == "all":
                    marked[start:end] = 1
                else:
                    marked[start if at == "first" else end - 1] = 1
            before = np.concatenate([[0], np.cumsum(marked)])
            out[here] = before[offsets[here, 1]] > before[offsets[here, 0]]
        return out.reshape(self.document.shape) & self.mask

    def text_of(self, index: int | Any) -> str:
        """The characters of the token `seq * ctx + pos`, as they stand in its document."""
        document = int(self.document.reshape(-1)[index])
        if document < 0:
            return ""
        start, end = self.offsets.reshape(-1, 2)[index]
        return self.documents[document].text[start:end]


def pack(
    tokenizer: Any,
    documents: Iterable[Any],
    *,
    ctx: int,
    bos: bool = True,
    join: bool = False,
    least: int = 1,
    most: int | None = None,
) -> Corpus:
    r"""$(d_1, d_2, \dots) \mapsto t \in \{0..V-1\}^{n \times c}$: documents cut into contexts.

    **Arguments:**

    - `tokenizer`: what `ji.load` returns, a `tokenizers.Tokenizer`, or anything with
      `with_offsets(text) -> (ids, offsets)` and a `bos_id`.
    - `documents`: texts, `Document`s, or `(text, label)` pairs.
    - `ctx`: tokens in a context, BOS included.
    - `bos`: every context begins with BOS; it is real, but the mask leaves it out.
    - `join`: False: a context holds one document, and its last one is padded on the right. True:
      documents follow each other, a BOS between them (if `bos`), so that every context is full; what
      does not fill the last one is left out.
    - `least`: contexts of fewer tokens are left out. `most`: stop at so many contexts.

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
    start = getattr(tokenizer, "bos_id", None) if bos else None
    if bos and start is None:
        raise ValueError("This tokenizer has no bos_id: call pack(..., bos=False).")
    if isinstance(documents, str):
        raise ValueError("documents is a list of texts; got one text. Write [text].")
    kept = tuple(_as_document(d, i) for i, d in enumerate(documents))
    if not kept:
        raise ValueError("There are no documents to pack.")
    width = ctx - bos
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    held = 0
    for d, document in enumerate(kept):
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
        if held and bos:
            waiting.append(
                (np.asarray([start], np.int32), np.zeros((1, 2), np.int32), np.asarray([-1], np.int32))
            )
            held += 1
        waiting.append((ids, offsets, owner))
        held += len(ids)
        if held >= width:
            whole = [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
            full = held // width * width
            rows += [tuple(x[i : i + width] for x in whole) for i in range(0, full, width)]  # type: ignore[misc]
            waiting, held = ([tuple(x[full:] for x in whole)] if held > full else []), held - full  # type: ignore[list-item]
    rows = [row for row in rows if (row[2] >= 0).any()][:most]
    if not rows:
        raise ValueError(
            f"No context came out: the documents are shorter than {'one context' if join else 'least='}"
            f" ({width if join else least} tokens)."
        )
    return _arranged(rows, ctx, start, kept)


def _arranged(rows: Any, ctx: int, start: int | None, documents: tuple[Document, ...]) -> Corpus:
    shape, first = (len(rows), ctx), int(start is not None)
    tokens = np.full(shape, start or 0, np.int32)
    real, document = np.zeros(shape, bool), np.full(shape, -1, np.int32)
    offsets = np.zeros((*shape, 2), np.int32)
    real[:, :first] = True
    for i, (ids, spans, owner) in enumerate(rows):
        here = slice(first, first + len(ids))
        tokens[i, here], offsets[i, here], document[i, here] = ids, spans, owner
        real[i, here] = True
    return Corpus(tokens, real, document >= 0, document, offsets, documents)


def _as_document(item: Any, number: int) -> Document:
    if isinstance(item, str):
        item = Document(item)
    elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        item = Document(*item)
    if not isinstance(item, Document):
        raise ValueError(
            f"Document {number} is a {type(item).__name__}; give a text, a (text, label), or a "
            "ji.data.Document."
        )
    if not item.text:
        raise ValueError(f"Document {number} is empty; leave it out.")
    for start, end, _ in item.spans:
        _check_span(start, end, item.text, number)
    return item


def _check_span(start: Any, end: Any, text: str, number: int) -> None:
    if not 0 <= start < end <= len(text):
        raise ValueError(
            f"A span is (start, end) in characters of its text, not empty; document {number} has "
            f"{len(text)} characters and the span ({start}, {end})."
        )


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


def _joined(*partitions: Any) -> list[int]:
    """For each document, the first of those it hangs together with through any of the partitions.

    The first ones are keys, one for each document; the last is a list of sets of documents.
    """
    *keys, sets = partitions
    parent = list(range(len(keys[0])))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        a, b = sorted((find(i), find(j)))
        parent[b] = a

    for key in keys:
        seen: dict[Any, int] = {}
        for i, k in enumerate(key):
            join(i, seen.setdefault(k, i))
    for members in sets:
        for i in members[1:]:
            join(int(members[0]), int(i))
    return [find(i) for i in range(len(parent))]
