"""The same documents for models of several tokenizers: a row for each document, and labels of rows and tokens."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import jax
import numpy as np

from .._text import shown
from ..core._intervene import config_of
from ..data import Document, Feature, TooFew, keep, pack, sample, split, take
from ..data._document import as_document
from ..hub._load import load
from ._scaling_settings import ScalingSettings

CALL = 'ji.neurons.scaling({"small": (model, tokenizer), "large": "EleutherAI/pythia-410m"}, documents)'


def as_sources(models: Any) -> dict[str, Any]:
    """Names and what makes a model and its tokenizer of each."""
    if isinstance(models, Mapping):
        named = [(str(name), source) for name, source in models.items()]
    elif isinstance(models, str) or hasattr(models, "config") or not isinstance(models, Iterable):
        raise ValueError(f"Several models are compared, by name or in a list: {CALL}.")
    else:
        named = [(_own_name(source, i), source) for i, source in enumerate(models)]
    sources = dict(named)
    if not named:
        raise ValueError(f"There is no model to compare: {CALL}.")
    if len(sources) < len(named):
        raise ValueError(f"Models need names of their own; got {[name for name, _ in named]}: {CALL}.")
    for name, source in sources.items():
        if isinstance(source, str | PurePath):
            continue
        if not isinstance(source, tuple) or len(source) != 2 or source[1] is None:
            raise ValueError(
                f"Each model reads the documents with its own tokenizer; {name!r} is {shown(source)}. Give what "
                f"ji.load takes, or the pair (model, tokenizer) that it returns: {CALL}."
            )
    return sources


def _own_name(source: Any, number: int) -> str:
    if isinstance(source, str | PurePath):
        return PurePath(source).name
    config = getattr(source[0], "config", None) if isinstance(source, tuple) and source else None
    return str(getattr(getattr(config, "source", None), "name", None) or f"model {number}")


def loaded(name: str, source: Any) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    model, tokenizer = load(source) if isinstance(source, str | PurePath) else source
    if tokenizer is None:
        raise ValueError(f"{name!r} has no tokenizer beside it; give the pair (model, tokenizer): {CALL}.")
    return model, tokenizer


def as_documents(corpus: Any) -> tuple[Document, ...]:
    """The documents of a corpus, or of a list."""
    given = getattr(corpus, "documents", corpus)
    if isinstance(given, str) or hasattr(given, "shape") or (hasattr(corpus, "tokens") and given is corpus):
        raise ValueError(
            "Each model reads the texts with its own tokenizer, so the corpus is texts with labels, and not "
            'tokens: [("Das ist gut.", "German"), ...], ji.data.Documents, or a ji.data.pack of them.'
        )
    documents = tuple(as_document(one, i) for i, one in enumerate(given))
    if len(documents) < 4:
        raise ValueError(f"Probes need documents to learn from and to be tested on; got {len(documents)}.")
    return documents


@dataclasses.dataclass(frozen=True)
class Labels:
    """What is asked of each document `(document,)`, and of tokens: spans of characters of a text."""

    documents: Mapping[str, np.ndarray]
    tokens: Mapping[str, Callable[[str], Iterable[Any]]]

    def finer(self) -> list[tuple[str, str]]:
        """Pairs (coarse, fine): the documents of the second are some, not all, of those of the first."""
        y = self.documents
        below = lambda fine, coarse: not (y[fine] & ~y[coarse]).any() and (y[coarse] & ~y[fine]).any()
        return [(coarse, fine) for coarse in y for fine in y if fine != coarse and below(fine, coarse)]


def as_labels_of(documents: tuple[Document, ...], features: Any) -> Labels:
    """The features of a call, or every label of the documents."""
    own = [d.label for d in documents]
    known = list(dict.fromkeys(label for label in own if label is not None))
    if features is None:
        if len(known) < 2:
            raise ValueError(
                f"A feature tells documents apart by their labels, and these have the labels {shown(known)}. Give "
                "labelled documents, [(text, label), ...], or features={'digit': function of a text to spans}."
            )
        features = {str(label): label for label in known}
    if not isinstance(features, Mapping) or not features:
        raise ValueError(
            "features is a dict from a name to a label, several labels, or a function of a text to spans: "
            "features={'code': ('python', 'c')}."
        )
    rows, spans = {}, {}
    for name, of in features.items():
        if callable(of):
            spans[str(name)] = of
            continue
        wanted = list(of) if isinstance(of, set | frozenset | list | tuple) else [of]
        gone = [label for label in wanted if label not in known]
        if gone:
            raise ValueError(f"No document has the label {gone[0]!r}; there are {shown(known)}.")
        rows[str(name)] = np.array([label in wanted for label in own])
        if rows[str(name)].all():
            raise ValueError(f"Every document is of the feature {name!r}: there is nothing to tell it from.")
    return Labels(rows, spans)


@dataclasses.dataclass(frozen=True, eq=False)
class ReadTexts:
    """The documents as one model reads them: a row for each, with the documents of training and test."""

    corpus: Any
    train: np.ndarray
    test: np.ndarray

    def features(
        self, labels: Labels, settings: ScalingSettings, key: Any
    ) -> tuple[dict[str, Feature], dict]:
        """Samples of tokens by name, and why others are left out."""
        found, skipped = {}, {}
        for i, (name, of) in enumerate(labels.tokens.items()):
            here = self.corpus.spans(of, at="last")
            own = jax.random.fold_in(key, i)
            try:
                found[name] = sample(
                    here, self.corpus.positions & ~here, n=settings.tokens, key=own, name=name
                )
            except TooFew as reason:
                skipped[name] = str(reason)
        return found, skipped

    def sides(self, index: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The rows of training and of test, where a row is a document, or a token of `index`."""
        if index is None:
            return self.train, self.test
        document = index // self.corpus.tokens.shape[1]
        return np.flatnonzero(np.isin(document, self.train)), np.flatnonzero(np.isin(document, self.test))


def read_texts_of(
    name: str,
    model: Any,
    tokenizer: Any,
    documents: tuple[Document, ...],
    labels: Labels,
    settings: ScalingSettings,
    key: Any,
) -> ReadTexts:
    """The first `ctx` tokens of each document; a document is on the same side for every model."""
    ctx = min(settings.ctx, config_of(model).ctx)
    bos = getattr(tokenizer, "bos_id", None) is not None
    corpus = pack(tokenizer, documents, ctx=ctx, bos=bos)
    first = np.unique(corpus.document.max(1), return_index=True)[1]
    corpus = take(corpus, first)
    corpus = dataclasses.replace(
        corpus, positions=corpus.positions & keep(corpus.mask, skip=int(settings.skip) + bos)
    )
    empty = np.flatnonzero(~corpus.positions.any(1))
    if len(empty):
        raise ValueError(
            f"Document {empty[0]} has {int(corpus.mask[empty[0]].sum()) - bos} tokens for {name!r}, and the first "
            f"{settings.skip} do not count. Leave it out, or give a smaller ScalingSettings(skip=)."
        )
    kinds = np.array([str(d.label) for d in documents])
    train, test = split(corpus.groups, key=key, test=settings.test, labels=kinds)
    return ReadTexts(corpus, train, test)
