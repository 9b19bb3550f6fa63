"""The loss of each kind of text, and how far predictions are from what counting says."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .. import viz
from .._arguments import as_int
from .._random import host_generator
from ..core._check import check_predicts_tokens
from ..core._intervene import config_of
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._bigrams import Bigrams
from ..corpus._fold import folded
from ..stats._intervals import check_level, ratio_ends
from ..stats._results import Record, Result
from ..typing import ClassesLike, IntLike, KeyLike, ModelLike
from ._ablation_values import predicted
from ._contexts import Contexts, as_contexts
from ._losses import check_losses
from ._prediction_sums import MEASURES, PredictionSums, tables


@dataclass(frozen=True, eq=False)
class ClassLosses(Result):
    """How well a model predicts each kind of text; made by `class_losses`.

    - `names`: the classes.
    - `loss entropy (class,)`: nats of the next token, and nats of entropy of the predictions.
    - `to_unigram from_unigram to_bigram from_bigram (class,)`: nats of KL(model || counts) and KL(counts || model);
      None without `bigrams`.
    - `low high (measure, class)`: intervals over documents, of these measures in this order.
    - `tokens documents (class,)`, `level`.

    ```python
    found = ji.neurons.class_losses(model, corpus)
    dict(zip(found.names, found.loss)), found.entropy
    ```
    """

    names: tuple[str, ...]
    loss: np.ndarray
    entropy: np.ndarray
    to_unigram: np.ndarray | None
    from_unigram: np.ndarray | None
    to_bigram: np.ndarray | None
    from_bigram: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    tokens: np.ndarray
    documents: np.ndarray
    level: float

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of what was measured."""
        return MEASURES[: len(self.low)]

    def records(self) -> list[Record]:
        """A row for each class and measure."""
        return [
            {
                "class": each,
                "measure": measure,
                "nats": float(getattr(self, measure)[c]),
                "low": float(self.low[m, c]),
                "high": float(self.high[m, c]),
                "tokens": int(self.tokens[c]),
                "documents": int(self.documents[c]),
            }
            for c, each in enumerate(self.names)
            for m, measure in enumerate(self.measures)
        ]

    def figure(self, *, title: str = "") -> viz.Figure:
        """The measures of each class as a table."""
        rows = [
            [each, *(f"{getattr(self, m)[c]:.3f}" for m in self.measures)]
            for c, each in enumerate(self.names)
        ]
        return viz.table(["class", *self.measures], rows, title=title or "Nats per token by kind of text")


def class_losses(
    model: ModelLike,
    classes: ClassesLike,
    *,
    bigrams: Bigrams | None = None,
    skip: IntLike = 0,
    level: float | int = 0.95,
    key: KeyLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> ClassLosses:
    r"""$\frac1{n_c}\sum_{t \in c} -\log p(x_{t+1} \mid x_{\le t})$, and $D(p \,\|\, q)$, $D(q \,\|\, p)$ for counts q.

    Early in training a model predicts like the unigram, later like the bigram, and after that better than both.

    **Arguments:**

    - `model`: with or without edits of its own.
    - `classes`: a labelled `Corpus`, or a dict from class to texts, as in `distribution`.
    - `bigrams`: counts of the training text: `ji.corpus.bigrams(corpus, model.config.vocab)`. By default none.
    - `skip`: first tokens of a context, whose losses do not count; 0 by default.
    - `level`: coverage of the intervals; 0.95 by default. Documents are resampled 1,000 times.
    - `key`: draws the resamples; `jax.random.key(0)` by default.
    - `batch_size`: rows of a pass; "auto" (by default) bounds what a pass holds by 256 MB.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `ClassLosses`. Means are sums over tokens divided by their number. A class of one document has no
    interval: its ends are NaN.

    **Raises:** ValueError for a class without predictions, and counts of another vocabulary.

    ```python
    counted = ji.corpus.bigrams(corpus, model.config.vocab)
    found = ji.neurons.class_losses(model, corpus, bigrams=counted)
    dict(zip(found.names, found.loss)), found.to_bigram
    ```

    Laws: losses are the base of `ablation`; a model that predicts the bigram has a `to_bigram` of 0.
    """
    config, level = config_of(model), check_level(level)
    check_predicts_tokens(config, "The loss of a kind of text is that of next tokens")
    contexts = predicted(as_contexts(model, classes, skip=as_int(skip, "skip", 0)))
    if bigrams is not None and not isinstance(bigrams, Bigrams):
        raise ValueError("bigrams are those of ji.corpus.bigrams(corpus, model.config.vocab).")
    if bigrams is not None and len(bigrams.unigram) != config.vocab:
        raise ValueError(
            f"These counts are of {len(bigrams.unigram)} tokens, and the model has {config.vocab}. Count texts of "
            "the model's own tokenizer: ji.corpus.bigrams(corpus, model.config.vocab)."
        )
    rng = host_generator(jax.random.key(0) if key is None else key, "ji.neurons.class_losses(..., key={})")
    sums, counts = _sums(model, contexts, bigrams, batch_size, progress)
    check_losses(sums[0])
    owner = np.zeros(len(counts), np.int64)
    owner[contexts.document] = contexts.label
    found = []
    for c in range(len(contexts.names)):
        own, many = sums[:, owner == c], counts[owner == c]
        found.append([own.sum(-1) / many.sum(), *ratio_ends(own, many, level, rng)])
    mean, low, high = (np.stack(each, -1) for each in zip(*found, strict=True))
    parts: dict[str, Any] = {**dict.fromkeys(MEASURES), **dict(zip(MEASURES, mean, strict=False))}
    names = contexts.names
    tokens = np.bincount(owner, counts, len(names)).astype(np.int64)
    documents = np.bincount(owner, minlength=len(names))
    return ClassLosses(names, **parts, low=low, high=high, tokens=tokens, documents=documents, level=level)


def _sums(
    model: Any, contexts: Contexts, bigrams: Bigrams | None, batch_size: int | str | None, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of nats `(measure, document)` in float64, and predictions `(document,)`."""
    corpus = contexts.corpus
    vocab = int(config_of(model).vocab)
    parts = CorpusBatches(corpus, model, batch_size, padded=True, width=6 * vocab)
    many = int(contexts.document.max()) + 1
    read = PredictionSums(model, *tables(corpus, bigrams))

    def step(state: np.ndarray, batch: Batch, values: Any) -> np.ndarray:
        rows = parts.rows_of(int(batch.number))
        np.add.at(state.T, contexts.document[rows], np.asarray(values, np.float64)[:, : len(rows)].T)
        return state

    init = np.zeros((2 if bigrams is None else len(MEASURES), many))
    name = "losses" if progress else False
    sums = folded(parts, model, [], init, step, per_batch=read, progress=name)
    return sums, np.bincount(contexts.document, corpus.positions[:, 1:].sum(1), many)
