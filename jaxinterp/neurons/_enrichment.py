"""How the documents of a neuron's top contexts stand to labels: Fisher's exact test and its odds."""

import functools

import numpy as np
import scipy

from ._contexts import Contexts


def enrichment(
    contexts: Contexts, train: np.ndarray, seq: np.ndarray, wanted: list[int], level: float
) -> dict[str, np.ndarray]:
    """How top contexts `seq (neuron, top)`, rows of `train`, stand to the labels of documents."""
    label = contexts.label[train]
    documents, first, of = np.unique(contexts.document[train], return_index=True, return_inverse=True)
    kind = label[first]  # a document has one label
    there = seq >= 0
    cells = {
        name: np.zeros((len(seq), len(wanted))) for name in ("share", "odds", "odds_low", "odds_high", "p")
    }
    for n, (row, real) in enumerate(zip(seq, there, strict=True)):
        hit = np.isin(np.arange(len(documents)), of.reshape(-1)[row[real]])
        for i, c in enumerate(wanted):
            table = (int((hit & (kind == c)).sum()), int(hit.sum()), int((kind == c).sum()), len(documents))
            share = float((label[row[real]] == c).mean()) if real.any() else 0.0
            for each, value in zip(cells, (share, *_fisher(*table, level)), strict=True):
                cells[each][n, i] = value
    return cells | {"base": np.array([(contexts.label == c).mean() for c in wanted])}


@functools.cache
def _fisher(both: int, hit: int, own: int, total: int, level: float) -> tuple[float, float, float, float]:
    """Conditional odds, the ends of their interval, and the one-sided p-value."""
    p = float(scipy.stats.hypergeom.sf(both - 1, total, own, hit))
    if not 0 < hit < total:
        return 1.0, 0.0, float("inf"), 1.0  # nothing is told apart
    found = scipy.stats.contingency.odds_ratio([[both, hit - both], [own - both, total - own - hit + both]])
    ends = found.confidence_interval(level)
    return float(found.statistic), float(ends.low), float(ends.high), min(p, 1.0)
