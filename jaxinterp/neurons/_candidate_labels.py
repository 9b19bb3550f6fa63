"""From a neuron to labels that may explain it: its top contexts beside labelled documents, and it as a probe."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import viz
from .._arguments import as_int
from .._random import host_generator
from .._settings import takes_settings
from ..core._check import check_key
from ..corpus._corpus import select
from ..data import split
from ..probes import single_neuron
from ..stats import Record, Result, discoveries
from ..stats._intervals import percentile_levels, resample_counts
from ..typing import ClassesLike, KeyLike, ModelLike, NeuronsLike
from ._address import as_neurons, name
from ._candidate_settings import CandidateSettings
from ._contexts import Contexts, as_contexts, index_of
from ._enrichment import enrichment
from ._reading import fold_neurons
from ._top_contexts import top_contexts


@dataclasses.dataclass(frozen=True, eq=False)
class CandidateLabels(Result):
    """How well each label explains each neuron; made by `ji.neurons.candidate_labels`. Arrays are `(neuron, label)`.

    - `neurons (n, 2)`, `labels`: the rows and columns.
    - `share`: the share of the top contexts of a neuron that have the label; `base (label,)`: the share of all contexts.
    - `odds`, `odds_low`, `odds_high`: the ratio of the odds that a document with the label has a top context to the
      odds of other documents, with the exact interval; inf where only documents with the label have one.
    - `p`: the p-value of Fisher's exact test that this ratio is at most 1; `significant`: after correction for all pairs.
    - `f1`, `f1_low`, `f1_high`: the F1 of the neuron by itself as a probe for the label, on held-out documents. The
      interval resamples documents, and is NaN where only one of them has the label.

    ```python
    settings = ji.neurons.CandidateSettings(top=2)
    found = ji.neurons.candidate_labels(model, corpus, [(2, 430)], key=jax.random.key(0), settings=settings)
    found.p, found.f1, found.best()
    ```
    """

    neurons: np.ndarray
    labels: tuple[str, ...]
    share: np.ndarray
    base: np.ndarray
    odds: np.ndarray
    odds_low: np.ndarray
    odds_high: np.ndarray
    p: np.ndarray
    significant: np.ndarray
    f1: np.ndarray
    f1_low: np.ndarray
    f1_high: np.ndarray

    def best(self) -> list[str]:
        """For each neuron the significant label of the largest held-out F1; "" where none is significant."""
        score = np.where(self.significant, self.f1, -1)
        return [self.labels[i] if row[i] >= 0 else "" for row, i in zip(score, score.argmax(1), strict=True)]

    def records(self) -> list[Record]:
        """A row for each neuron and label, the likeliest label of a neuron first."""
        columns = ("share", "odds", "odds_low", "odds_high", "p", "significant", "f1", "f1_low", "f1_high")
        rows: list[Record] = []
        for n, neuron in enumerate(self.neurons):
            for c in np.lexsort((-self.f1[n], self.p[n])):
                row: Record = {"neuron": name(neuron), "label": self.labels[c], "base": float(self.base[c])}
                rows.append(row | {each: getattr(self, each)[n, c].item() for each in columns})
        return rows

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """Held-out F1 of each neuron for each label, as a heat map.

        **Arguments:**

        - `title`, `caption`: texts; by default what is shown, and none.
        """
        return viz.heatmap(
            self.f1,
            rows=[name(each) for each in self.neurons],
            cols=list(self.labels),
            value="F1",
            title=title or "Held-out F1 of single neurons",
            settings=viz.HeatmapSettings(caption=caption),
        )


@takes_settings
def candidate_labels(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None = None,
    *,
    key: KeyLike,
    labels: Sequence[str] | None = None,
    settings: CandidateSettings = CandidateSettings(),
    resamples: int = 1000,
    site: str = "mlp_post",
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> CandidateLabels:
    r"""$P(H \ge k),\ H \sim \mathrm{Hypergeometric}(N, K_c, n)$, and $F_1$: which labels may explain a neuron?

    There are N documents. A top context of the neuron stands in n of them, $K_c$ have the label c, and k have
    both. The test counts documents and not contexts, because the contexts of one document are alike. Labels are chosen on
    one part of the documents. On the other part the neuron by itself is a probe for each label (Gurnee et al. 2023,
    https://arxiv.org/abs/2305.01610): the mean of its activation over a context, and a threshold.

    **Arguments:**

    - `model`, `neurons`, `site`, `batch_size`, `progress`: as in `distribution`; by default all neurons.
    - `classes`: a `Corpus` whose documents have labels, or a dict from label to a corpus.
    - `key`: a `jax.random.key` that divides the documents and draws the resamples.
    - `labels`: which labels are tested. Default None: all.
    - `settings`: a `CandidateSettings`: how many top contexts, the share of held-out documents, the rate of
      false discoveries.
    - `resamples`: how often documents are resampled for the intervals of F1; 1000 by default, 0 for no intervals.

    **Returns:** `CandidateLabels`, with `.best()`, `.records()` and `.figure()`.

    **Raises:** ValueError for a corpus without labels or with one label, a label without documents or with one
    document, more top contexts than half of all contexts; as `distribution`.

    ```python
    settings = ji.neurons.CandidateSettings(top=2)
    found = ji.neurons.candidate_labels(model, corpus, [(2, 430)], key=jax.random.key(0), settings=settings)
    found.best(), found.records()[0]
    ```

    Laws: p is that of `scipy.stats.fisher_exact(..., alternative="greater")`; F1 is that of
    `ji.probes.single_neuron` on the held-out documents; if neurons and labels are unrelated, at most a share a of the
    neurons has a p of a or less.
    """
    key = check_key(key, "ji.neurons.candidate_labels(model, corpus, neurons, key={})")
    resamples = as_int(resamples, "resamples", 0)
    contexts, chosen = as_contexts(model, classes, skip=settings.skip), as_neurons(model, neurons, site)
    if not len(chosen):
        raise ValueError("candidate_labels needs at least one neuron: neurons=[(2, 430)], or None for all.")
    wanted = _labels(contexts, labels)
    train, test = split(
        contexts.document, key=key, test=settings.test, labels=np.asarray(contexts.names)[contexts.label]
    )
    if settings.top > len(train) // 2:
        raise ValueError(
            f"top={settings.top} contexts of a neuron are compared with all {len(train)} of the documents that "
            f"are not held out, and should be at most half: CandidateSettings(top={max(1, len(train) // 2)})."
        )
    how: dict[str, Any] = {"site": site, "batch_size": batch_size, "progress": progress}
    top = top_contexts(model, select(contexts.corpus, train), chosen, top=settings.top, window=0, **how)
    first = enrichment(contexts, train, top.seq, wanted, settings.level)
    x = _means(model, contexts, chosen, how)
    rng = host_generator(key, "ji.neurons.candidate_labels(..., key={})")
    second = _held_out(contexts, x, train, test, wanted, rng, resamples, settings.level)
    found = first | second
    return CandidateLabels(
        chosen,
        tuple(contexts.names[c] for c in wanted),
        significant=discoveries(found["p"], settings.rate),
        **found,
    )


def _labels(contexts: Contexts, labels: Any) -> list[int]:
    """The numbers of the labels to test, of two documents or more each."""
    if len(contexts.names) < 2:
        raise ValueError(
            f"Labels are told from each other, and there is one, {''.join(contexts.names)!r}: label the documents, "
            "ji.data.pack(tokenizer, [(text, 'German'), (text, 'French'), ...], ctx=64), or give a dict "
            "{label: corpus}."
        )
    for c, each in enumerate(contexts.names):
        if (count := len(np.unique(contexts.document[contexts.label == c]))) < 2:
            raise ValueError(
                f"A label needs two documents, one to choose by and one to test; {each!r} has {count}."
            )
    labels = contexts.names if labels is None else [labels] if isinstance(labels, str) else list(labels)
    if not labels:
        raise ValueError(f"labels names some of {', '.join(map(repr, contexts.names))}, or None for all.")
    return [index_of(contexts.names, each) for each in labels]


def _means(model: Any, contexts: Contexts, chosen: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """The mean of each neuron over the tokens of each context that count, `(context, neuron)`."""

    def step(parts: list[np.ndarray], batch: Any, x: Any) -> list[np.ndarray]:
        counted = np.asarray(batch.positions)
        keep = counted.any(1)
        sums = np.where(counted[None], np.asarray(x), 0).sum(-1, dtype=np.float64)[:, keep]
        return [*parts, (sums / counted.sum(1)[keep]).T]

    how = how | {"progress": "means" if how["progress"] else False}
    return np.concatenate(fold_neurons(model, contexts, chosen, how.pop("site"), [], step, **how))


def _held_out(
    contexts: Contexts,
    x: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    wanted: list[int],
    rng: np.random.Generator,
    resamples: int,
    level: float,
) -> dict[str, np.ndarray]:
    """F1 on the rows `test` of a probe of each neuron fitted to the rows `train`, and its interval."""
    spread = x[train].std(0)
    x = np.asarray(x / np.where(spread > 0, spread, 1), np.float32)
    y = np.stack([contexts.label == c for c in wanted])
    probes = single_neuron(x[train], y[:, train].astype(int))
    positive = np.moveaxis(np.asarray(probes.decision(x[test])), 2, 0) > 0  # (neuron, label, row)
    truth = y[None][..., test]
    documents, first, of = np.unique(contexts.document[test], return_index=True, return_inverse=True)
    by_document = np.zeros((len(test), len(documents)))
    by_document[np.arange(len(test)), of.reshape(-1)] = 1
    hits, others = (positive & truth) @ by_document, (positive ^ truth) @ by_document
    f1 = lambda w: 2 * (hits @ w) / np.maximum(2 * (hits @ w) + others @ w, 1)
    kind = contexts.label[test][first]
    low = high = np.full(positive.shape[:2], np.nan)
    if resamples:
        weights = np.zeros((len(documents), resamples))
        for c in np.unique(kind):  # each label keeps its number of documents
            weights[kind == c] = resample_counts(rng, int((kind == c).sum()), resamples).T
        low, high = np.quantile(f1(weights), percentile_levels(level), axis=-1)
    one = np.array([(kind == c).sum() < 2 for c in wanted])[None]
    low, high = (np.where(one, np.nan, end) for end in (low, high))
    return {"f1": f1(np.ones(len(documents))), "f1_low": low, "f1_high": high}
