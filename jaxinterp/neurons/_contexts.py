"""Contexts of tokens with their classes and documents, in one form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core._check import as_array, check_tokens
from ..core._intervene import split_edits
from ..corpus._corpus import TokenCorpus, as_corpus, is_corpus, select


@dataclass(frozen=True, eq=False)
class Contexts:
    """Rows of a corpus with their classes: `label document (seq,)`, `names` of classes.

    `document` is what a bootstrap resamples as one.
    """

    corpus: TokenCorpus
    label: np.ndarray
    document: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.corpus)

    def only(self, *names: str) -> "Contexts":
        """The contexts of some classes."""
        for each in names:
            index_of(self.names, each)
        keep = np.isin(np.asarray(self.names)[self.label], names)
        chosen = tuple(each for each in self.names if each in names)
        label = np.array([chosen.index(self.names[i]) for i in self.label[keep]], np.int32)
        return contexts_of(self.corpus, keep, label, self.document[keep], chosen)


def contexts_of(
    corpus: Any, rows: Any, label: np.ndarray, document: np.ndarray, names: tuple[str, ...]
) -> Contexts:
    """Some rows of a corpus, with what is known of each."""
    numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
    return Contexts(select(corpus, numbers), label.astype(np.int32), document, names)


def index_of(names: tuple[str, ...], wanted: str) -> int:
    if wanted not in names and names == ("all",):
        raise ValueError(
            f"{wanted!r} is a label, and these texts have no labels. Give them: "
            "ji.data.pack(tokenizer, [(text, 'German'), (other, 'English')], ctx=128), or a dict from class to texts."
        )
    if wanted not in names:
        raise ValueError(f"{wanted!r} is no class; there are {', '.join(map(repr, names))}.")
    return names.index(wanted)


def as_contexts(model: Any, classes: Any, *, skip: int = 0) -> Contexts:
    """A `Corpus` (its documents' labels are the classes), or a dict from class to `Corpus`, tokens
    `(seq, pos)` or `(tokens, mask)`; tokens alone are one class. All but the first `skip` real
    positions of a context count, where the corpus says so.
    """
    if isinstance(skip, bool) or not isinstance(skip, int | np.integer) or skip < 0:
        raise ValueError(f"skip is a number of positions, at least 0; got {skip!r}.")
    parts = classes.items() if isinstance(classes, Mapping) else [(None, classes)]
    if not parts:
        raise ValueError("There are no classes: give a Corpus, or a dict {name: Corpus or tokens}.")
    rows, names, taken = [], [], 0
    for name, part in parts:
        tokens, real, counted, labels, document = _part(part, name)
        _check_ids(model, tokens)
        counted = counted & real & (np.cumsum(real, 1) > skip)
        keep = counted.any(1)
        if not keep.any():
            raise ValueError(
                f"No token counts{f' in {name!r}' if name is not None else ''}: every context has "
                f"at most skip={skip} tokens. Give longer contexts, or skip=0."
            )
        names += [each for each in dict.fromkeys(labels[keep].tolist()) if each not in names]
        # A text with two labels is a document of each.
        kinds = np.unique(labels[keep].astype(str), return_inverse=True)[1]
        pairs = np.stack([document[keep], kinds.reshape(-1)], 1)
        document = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1) + taken
        taken = int(document.max()) + 1
        rows.append((tokens[keep], real[keep], counted[keep], labels[keep], document))
    if not isinstance(classes, Mapping):
        names.sort()
    width = max(row[0].shape[1] for row in rows)
    wide = [[np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in row[:3]] + list(row[3:]) for row in rows]
    tokens, real, counted, labels, document = (np.concatenate(x) for x in zip(*wide, strict=True))
    label = np.array([names.index(each) for each in labels], np.int32)
    corpus = TokenCorpus(tokens, real, counted, np.where(real, document[:, None], -1), labels)
    return Contexts(corpus, label, document, tuple(names))


def _part(part: Any, name: Any) -> tuple[np.ndarray, ...]:
    """Tokens, what is real, what counts, labels and documents of one class or corpus."""
    tokens, mask = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
    if not is_corpus(tokens):
        _check_kind(tokens)
    corpus = as_corpus(tokens, mask=mask)
    rows = np.arange(len(corpus))
    if name is not None:
        label = np.full(len(corpus), str(name), object)
    else:
        label = np.array(["all" if each is None else str(each) for each in corpus.labels], object)
    groups = getattr(corpus, "groups", None)
    if groups is None:
        groups = np.where(corpus.document.max(1) < 0, rows, corpus.document.max(1))
    ids = np.asarray(corpus.tokens[rows])
    return ids, np.asarray(corpus.mask), np.asarray(corpus.positions), label, np.asarray(groups)


def _check_kind(tokens: Any) -> None:
    ids = np.asarray(as_array(tokens))
    if ids.ndim not in (1, 2) or not np.issubdtype(ids.dtype, np.integer) or not ids.size:
        raise ValueError(
            "Contexts are a ji.data.Corpus, ids (seq, pos), a pair (ids, mask), or a dict "
            f"{{class: one of these}}; got {ids.dtype} of the shape {ids.shape}. From texts: "
            "ji.data.pack(tokenizer, [(text, 'en'), ...], ctx=128)."
        )


def _check_ids(model: Any, tokens: np.ndarray) -> None:
    base, _ = split_edits(model)
    check_tokens(tokens, base.config)
