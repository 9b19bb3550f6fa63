"""Does a feature fire on a context that one can name, and only there?"""

from dataclasses import dataclass

import numpy as np

from ...typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Specificity:
    """Of one feature and one proxy; made by `specificity`.

    `edges (interval + 1,)` of activation, from 0 to the largest; `tokens (interval,)` that fire in each;
    `share (interval,)` of them in the context (NaN where none fires); `firing`: the share over all
    that fire; `sensitivity`: the share of tokens in the context that fire; `correlation` (Pearson) of
    activation and being in the context; `score_edges`, `weight (bin,)`: how the activation is spread
    over proxy scores, with sum 1; `base`: the share of all tokens in the context.
    """

    edges: np.ndarray
    tokens: np.ndarray
    share: np.ndarray
    firing: float
    sensitivity: float
    correlation: float
    score_edges: np.ndarray
    weight: np.ndarray
    base: float


def specificity(f: ArrayLike, score: ArrayLike, *, intervals: int = 11, bins: int = 40) -> Specificity:
    r"""$P(\text{proxy} > 0 \mid f_i \in \text{interval})$, and Pearson's $r(f_i, \text{proxy} > 0)$.

    The proxy of a token is a log-likelihood ratio, $\log P(s \mid \text{context}) - \log P(s)$, the
    largest over strings s that end there: above 0 the token belongs to the context.

    **Arguments:** activations of one feature `f (tokens,)`, at every token and none below 0; `score (tokens,)` of the
    proxy (bools count as scores); `intervals` of equal length from 0 to the largest activation; `bins` of the
    histogram of scores.

    **Raises:** ValueError for other shapes, NaN, and activations below 0.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    found = ji.sae.specificity(f[:, 7], is_german)
    found.share[-1], found.sensitivity, found.correlation
    ```

    Law: a feature that is the context itself has shares, sensitivity and correlation of 1.
    """
    f, score = np.asarray(f, np.float64), np.asarray(score, np.float64)
    if f.ndim != 1 or f.shape != score.shape or not f.size:
        raise ValueError(
            "specificity takes one feature and one proxy, (tokens,) each; got the shapes "
            f"{f.shape} and {score.shape}. One feature of many: f[:, 7]."
        )
    if np.isnan(f).any() or np.isnan(score).any() or np.isinf(f).any() or f.min() < 0:
        raise ValueError(
            "Activations are finite and none below 0, and scores are no NaN. Of a signed feature give one side, numpy.maximum(f, 0), or the magnitude, numpy.abs(f)."
        )
    inside, fires = score > 0, f > 0
    high = float(f.max()) or 1.0
    edges = np.linspace(0, high, intervals + 1)
    place = np.minimum((f / high * intervals).astype(int), intervals - 1)[fires]
    tokens = np.bincount(place, minlength=intervals)
    hits = np.bincount(place, weights=inside[fires], minlength=intervals)
    with np.errstate(invalid="ignore"):
        share = np.where(tokens > 0, hits / tokens, np.nan)
    finite = np.clip(score, *(np.finfo(np.float32).min, np.finfo(np.float32).max))
    score_edges = np.histogram_bin_edges(finite, bins)
    weight = np.histogram(finite, score_edges, weights=f)[0]
    over = lambda hit, of: float((hit & of).sum() / of.sum()) if of.any() else 0.0
    varies = f.std() > 0 and inside.any() and not inside.all()
    return Specificity(
        edges,
        tokens,
        share,
        over(inside, fires),
        over(fires, inside),
        float(np.corrcoef(f, inside)[0, 1]) if varies else 0.0,
        score_edges,
        weight / max(weight.sum(), 1e-300),
        float(inside.mean()),
    )
