"""Contexts of tokens with their classes and documents, in one form, read batch by batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core._check import as_array, as_int32, check_tokens
from ..core._intervene import split_edits


@dataclass(frozen=True, eq=False)
class Contexts:
    """What is read: `tokens real counted (seq, pos)`, `label document (seq,)`, `names` of classes.

    `counted` are the positions that count, `real` those that are not padding, `document` what a
    bootstrap resamples as one.
    """

    tokens: np.ndarray
    real: np.ndarray
    counted: np.ndarray
    label: np.ndarray
    document: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Row numbers and arrays of each batch; the last is filled up with rows that do not count."""
        for first in range(0, len(self), size):
            rows = np.arange(first, first + size)
            there = rows < len(self)
            rows = np.where(there, rows, len(self) - 1)
            yield (
                rows,
                {
                    "tokens": self.tokens[rows],
                    "real": self.real[rows],
                    "counted": self.counted[rows] & there[:, None],
                    "label": self.label[rows].astype(np.int32),
                },
            )

    def only(self, *names: str) -> "Contexts":
        """The contexts of some classes."""
        for each in names:
            index_of(self.names, each)
        keep = np.isin(np.asarray(self.names)[self.label], names)
        chosen = tuple(each for each in self.names if each in names)
        label = np.array([chosen.index(self.names[i]) for i in self.label[keep]], np.int32)
        return Contexts(
            self.tokens[keep],
            self.real[keep],
            self.counted[keep],
            label,
            self.document[keep],
            chosen,
        )


def index_of(names: tuple[str, ...], wanted: str) -> int:
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
    return Contexts(tokens, real, counted, label, document, tuple(names))


def _part(part: Any, name: Any) -> tuple[np.ndarray, ...]:
    """Tokens, what is real, what counts, labels and documents of one class or corpus."""
    if hasattr(part, "document") and hasattr(part, "documents"):  # a Corpus
        label = part.labels if name is None else np.full(len(part), name, object)
        label = np.array(["all" if each is None else str(each) for each in label], object)
        return part.tokens, part.real, part.mask, label, part.groups
    tokens, mask = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
    tokens = np.asarray(as_array(tokens))
    if tokens.ndim == 1:
        tokens = tokens[None]
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer) or not tokens.size:
        raise ValueError(
            "Contexts are a ji.data.Corpus, ids (seq, pos), a pair (ids, mask), or a dict "
            f"{{class: one of these}}; got {tokens.dtype} of the shape {tokens.shape}. From texts: "
            "ji.data.pack(tokenizer, [(text, 'en'), ...], ctx=128)."
        )
    real = np.ones(tokens.shape, bool) if mask is None else np.asarray(mask)
    if real.shape != tokens.shape or real.dtype != bool:
        raise ValueError(
            f"A mask is of bools {tokens.shape}, True at tokens that are not padding; got "
            f"{real.dtype} {real.shape}."
        )
    label = np.full(len(tokens), "all" if name is None else str(name), object)
    return as_int32(tokens, "A token id"), real, real, label, np.arange(len(tokens))


def _check_ids(model: Any, tokens: np.ndarray) -> None:
    base, _ = split_edits(model)
    check_tokens(tokens, base.config)
