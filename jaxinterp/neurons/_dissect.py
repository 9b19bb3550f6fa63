"""A feature in superposition, taken apart: what its neurons fire on alone, and what their sum does."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._deprecations import respelled
from .._tabular import Record, Tabular, pieces
from ..probes import metrics
from ..typing import ClassesLike, ModelLike, NeuronsLike, TokenizerLike
from ._address import as_neurons, name
from ._contexts import Contexts, as_contexts
from ._reading import values


@dataclass(frozen=True, eq=False)
class Dissection(Tabular):
    """How well neurons, and their sum, find a target; made by `ji.neurons.dissect`.

    - `parts`: names of the neurons, and `"sum"` at the end.
    - `ids (part, k, n)`: the top n-grams, in the order of their `mean (part, k)` activation at the last token, with
      their `count`, and the `share` that is the target. -1 and NaN fill up shorter lists.
    - `separation`: for each part a dict of `f1` at its best `threshold`, `roc_auc`, `average_precision`, and `in_top`:
      as many tokens with the largest values as there are targets are taken, and `in_top` is the share of targets in them.

    ```python
    corpus = ji.data.pack(tokenizer, ["a high school in the high hills, a school"] * 3, ctx=24)
    target = corpus.spans(lambda t: ji.data.features.compound_word(t, "high school").both, at="last")
    found = ji.neurons.dissect(model, corpus, [(0, 1), (0, 2)], target, top=3)
    {row["part"]: row["roc_auc"] for row in found.separation}
    found.records(tokenizer)[:3]
    ```
    """

    neurons: np.ndarray
    weights: np.ndarray
    parts: tuple[str, ...]
    ids: np.ndarray
    mean: np.ndarray
    count: np.ndarray
    share: np.ndarray
    separation: list[dict[str, Any]]
    tokens: int
    targets: int

    def records(self, tokenizer: TokenizerLike | None = None) -> list[Record]:
        """The top n-grams of every part, as dicts with their text; ids without a tokenizer."""
        return [
            {
                "part": part,
                "ngram": "".join(pieces(tokenizer, self.ids[p, j])),
                "mean": float(self.mean[p, j]),
                "count": int(self.count[p, j]),
                "target": float(self.share[p, j]),
            }
            for p, part in enumerate(self.parts)
            for j in range(self.ids.shape[1])
            if self.ids[p, j, 0] >= 0
        ]


@respelled(batch="batch_size=", k="top=", bootstrap="resamples=")
def dissect(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None,
    target: Any,
    *,
    weights: Any = None,
    against: Any = None,
    n: int = 2,
    top: int = 10,
    least: int = 1,
    site: str = "mlp_post",
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> Dissection:
    r"""$a_1, \dots, a_k$ and $\sum_j w_j a_j$: the top n-grams of each neuron and of the sum, and how well they find a target.

    In superposition each neuron fires on many unrelated n-grams, and their sum on one of them. An example are the compound
    words in section 6 of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610). Contexts are read batch by batch, and
    only the activations of the given neurons are kept.

    **Arguments:**

    - `classes`: a `Corpus`, or tokens, or `(tokens, mask)`.
    - `neurons`: a few, such as the support of `probes.best_subset(x, y, k=5)`.
    - `weights`: their weights in the sum, such as those of the probe; 1 by default.
    - `target (seq, pos)`: True at the last token of each n-gram that is to be found, such as
      `corpus.spans(lambda t: ji.data.features.compound_word(t, "high school").both, at="last")`.
    - `against (seq, pos)`: True at the tokens that are told from the target for `separation`, such as near misses;
      by default all other tokens.
    - `n`: length of the n-grams, which are found by their last token; 2 by default.
    - `top`: n-grams in each list; 10 by default.
    - `least`: smallest number of occurrences of an n-gram; 1 by default.
    - `model`, `site`, `batch_size`, `progress`: as in `distribution`.

    **Returns:** `Dissection`.

    **Raises:** `ValueError` for a target that is nowhere or everywhere, or of another shape.

    ```python
    corpus = ji.data.pack(tokenizer, ["a high school in the high hills, a school"] * 3, ctx=24)
    target = corpus.spans(lambda t: ji.data.features.compound_word(t, "high school").both, at="last")
    found = ji.neurons.dissect(model, corpus, [(0, 1), (0, 2)], target, top=3)
    found.separation[-1]["f1"], found.records(tokenizer)[0]["ngram"]
    ```

    Law: means and counts are those of a loop over all n-grams; `f1` is the best over all thresholds.
    """
    contexts = as_contexts(model, classes)
    chosen = as_neurons(model, neurons, site)
    if not len(chosen):
        raise ValueError("dissect needs at least one neuron, such as the support of a sparse probe.")
    wanted = _at_tokens(contexts, target, "target")
    others = ~wanted if against is None else _at_tokens(contexts, against, "against") & ~wanted
    if not wanted.any() or not others.any():
        raise ValueError(
            f"dissect separates a target from other tokens; there are {int(wanted.sum())} targets and "
            f"{int(others.sum())} others among the tokens that count."
        )
    if n < 1 or top < 1:
        raise ValueError(f"n-grams of n tokens, the first top: both at least 1; got n={n}, top={top}.")
    mix = np.ones(len(chosen)) if weights is None else np.asarray(weights, np.float64)
    if mix.shape != (len(chosen),):
        raise ValueError(f"weights holds one number for each of the {len(chosen)} neurons; got {mix.shape}.")
    alone = values(model, contexts, chosen, site, batch_size=batch_size, progress=progress)
    x = np.concatenate([alone.astype(np.float64), (alone @ mix)[:, None]], 1)
    parts = (*(name(each) for each in chosen), "sum")
    kept = wanted | others
    separation = [{"part": part, **_separation(x[kept, p], wanted[kept])} for p, part in enumerate(parts)]
    grams, whole = _ngrams(contexts, n)
    ids, mean, count, share = _top(grams, x[whole], wanted[whole], top, least)
    return Dissection(chosen, mix, parts, ids, mean, count, share, separation, len(x), int(wanted.sum()))


def _at_tokens(contexts: Contexts, mask: Any, what: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != contexts.corpus.tokens.shape:
        raise ValueError(
            f"{what} is of bools with the shape of the tokens {contexts.corpus.tokens.shape}; got "
            f"{mask.dtype} {mask.shape}. From texts: corpus.spans(f, at='last')."
        )
    return mask[contexts.corpus.positions]


def _ngrams(contexts: Contexts, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-gram that ends at each token that counts `(m, n)`, and which tokens have one."""
    shape = contexts.corpus.tokens.shape
    if n > shape[1]:
        raise ValueError(f"There is no {n}-gram in contexts of {shape[1]} tokens.")
    grams = np.full((*shape, n), -1, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(contexts.corpus.tokens), n, axis=1)
    real = np.lib.stride_tricks.sliding_window_view(contexts.corpus.positions, n, axis=1).all(-1)
    grams[:, n - 1 :][real] = windows[real]
    at = grams[contexts.corpus.positions]
    whole = at[:, 0] >= 0
    return at[whole], whole


def _top(grams: np.ndarray, x: np.ndarray, wanted: np.ndarray, k: int, least: int) -> tuple[np.ndarray, ...]:
    kinds, of, counts = np.unique(grams, axis=0, return_inverse=True, return_counts=True)
    of = of.reshape(-1)
    often = counts >= max(1, least)
    share = np.bincount(of, wanted, len(kinds)) / counts
    parts, n = x.shape[1], grams.shape[1]
    ids = np.full((parts, k, n), -1, np.int64)
    mean, count, target = (
        np.full((parts, k), np.nan),
        np.zeros((parts, k), np.int64),
        np.full((parts, k), np.nan),
    )
    for p in range(parts):
        means = np.where(often, np.bincount(of, x[:, p], len(kinds)) / counts, -np.inf)
        order = np.argsort(-means, kind="stable")[:k]
        order = order[often[order]]
        here = slice(len(order))
        ids[p, here], mean[p, here] = kinds[order], means[order]
        count[p, here], target[p, here] = counts[order], share[order]
    return ids, mean, count, target


def _separation(score: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How well `score > threshold` finds the target, at the threshold that does it best."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(wanted[order])
    ends = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]
    f1 = 2 * hits[ends] / (ends + 1 + wanted.sum())
    best = ends[f1.argmax()]
    after = score[order][min(best + 1, len(score) - 1)]
    measured = metrics(wanted.astype(int), score)
    return {
        "f1": float(f1.max()),
        "threshold": float((score[order][best] + after) / 2),
        "roc_auc": measured["roc_auc"],
        "average_precision": measured["average_precision"],
        "in_top": float(wanted[order[: wanted.sum()]].mean()),
    }
