"""Contexts of tokens, each token with its document and its place in the text."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..corpus._corpus import content_hash
from ._document import Document, as_spans


@dataclasses.dataclass(frozen=True, eq=False)
class TextCorpus:
    """Contexts of tokens, made by `pack`: a `ji.corpus.Corpus` that knows its documents.

    - `tokens` `(seq, pos)`: int32 ids;
    - `mask` `(seq, pos)`: True at real tokens, False at padding;
    - `positions` `(seq, pos)`: True at tokens that count, which leaves out BOS and separators;
    - `document` `(seq, pos)`: which of `documents` a token is of, -1 where none;
    - `offsets` `(seq, pos, 2)`: first character and end of each token in its document, without the
      spaces around it;
    - `documents`: the `Document`s.
    """

    tokens: np.ndarray
    mask: np.ndarray
    positions: np.ndarray
    document: np.ndarray
    offsets: np.ndarray
    documents: tuple[Document, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        seq, pos = self.tokens.shape
        return (
            f"Corpus({seq} contexts of {pos}, {int(self.positions.sum())} tokens of "
            f"{len(self.documents)} documents)"
        )

    def __getattr__(self, name: str) -> Any:
        if name == "real":
            raise AttributeError(
                "A Corpus has no real: corpus.mask is True at real tokens, corpus.positions at those that count."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def content_hash(self) -> str:
        """Equal for equal tokens, masks and positions."""
        return content_hash(self)

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
        return of[self.document] & self.positions

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
            for start, end in as_spans(found, document.text, d):
                if at == "all":
                    marked[start:end] = 1
                else:
                    marked[start if at == "first" else end - 1] = 1
            before = np.concatenate([[0], np.cumsum(marked)])
            out[here] = before[offsets[here, 1]] > before[offsets[here, 0]]
        return out.reshape(self.document.shape) & self.positions

    def text_of(self, index: int | Any) -> str:
        """The characters of the token `seq * ctx + pos`, as they stand in its document."""
        document = int(self.document.reshape(-1)[index])
        if document < 0:
            return ""
        start, end = self.offsets.reshape(-1, 2)[index]
        return self.documents[document].text[start:end]


Corpus = TextCorpus
"The public name: `ji.data.Corpus`."


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
