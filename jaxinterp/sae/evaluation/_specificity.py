"""Whether a feature fires in one context, and only there."""

from dataclasses import dataclass

import numpy as np

from ... import viz
from ..._tabular import Tabular
from ...stats._results import Record
from ...typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Specificity(Tabular):
    """How specific one feature is for a context; made by `specificity`.

    ```python
    found = ji.sae.specificity(f[:, 7], is_german)
    found.share, found.sensitivity, found.base
    ```
    """

    edges: np.ndarray
    "The borders of the intervals of activation, `(interval + 1,)`, from 0 to the largest."
    tokens: np.ndarray
    "How many tokens with an activation above 0 are in each interval, `(interval,)`."
    share: np.ndarray
    "The share of these tokens in the context, `(interval,)`; NaN for an empty interval."
    firing: float
    "The share in the context of all tokens on which the feature fires."
    sensitivity: float
    "The share of tokens in the context on which the feature fires."
    correlation: float
    "Pearson's correlation of the activation and membership in the context."
    score_edges: np.ndarray
    "The borders of the bins of proxy scores, `(bin + 1,)`."
    weight: np.ndarray
    "The share of the total activation in each bin, `(bin,)`."
    base: float
    "The share of all tokens in the context."

    def records(self) -> list[Record]:
        """A row for each interval of activation: `low`, `high`, `tokens` and `share`."""
        rows = zip(self.edges[:-1], self.edges[1:], self.tokens, self.share, strict=True)
        return [
            {"low": float(low), "high": float(high), "tokens": int(tokens), "share": float(share)}
            for low, high, tokens, share in rows
        ]

    def figure(self, *, title: str = "The share of the context by activation") -> viz.Figure:
        """The share of tokens in the context, by interval of activation; the base rate beside it."""
        middle = (self.edges[:-1] + self.edges[1:]) / 2
        curves = {"fires": self.share, "all tokens": np.full(len(middle), self.base)}
        return viz.lines(curves, x=middle, x_axis="activation", y_axis="share", title=title)


def specificity(f: ArrayLike, score: ArrayLike, *, intervals: int = 11, bins: int = 40) -> Specificity:
    r"""$P(\text{proxy} > 0 \mid f_i \in \text{interval})$, and Pearson's $r(f_i, \text{proxy} > 0)$.

    The proxy of a token is a log-likelihood ratio, $\log P(s \mid \text{context}) - \log P(s)$, the
    largest over strings s that end at the token. Where it is above 0, the token counts as part of the context.

    **Arguments:**

    - `f`: activations of one feature at all tokens `(tokens,)`, none below 0.
    - `score`: the proxy `(tokens,)`, such as `context_proxy(...)[tokens]`; bools also count as scores.
    - `intervals`: how many intervals of equal length, from 0 to the largest activation; 11 by default.
    - `bins`: how many bins the histogram of scores has; 40 by default.

    **Returns:** a `Specificity`.

    **Raises:** ValueError for other shapes, NaN, and activations below 0.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features).

    ```python
    found = ji.sae.specificity(f[:, 7], is_german)      # is_german (tokens,): True at tokens of German texts
    found.share[-1], found.sensitivity, found.correlation
    ```

    Law: a feature that equals the proxy, 1 in the context and 0 elsewhere, has shares, sensitivity and correlation of 1.
    """
    f, score = np.asarray(f, np.float64), np.asarray(score, np.float64)
    if f.ndim != 1 or f.shape != score.shape or not f.size:
        raise ValueError(
            "specificity takes one feature and one proxy, (tokens,) each; got the shapes "
            f"{f.shape} and {score.shape}. One feature of many: f[:, 7]."
        )
    if np.isnan(f).any() or np.isnan(score).any() or np.isinf(f).any() or f.min() < 0:
        raise ValueError(
            "Activations are finite and not below 0, and scores are not NaN. Use one side of a signed "
            "feature, numpy.maximum(f, 0), or its magnitude, numpy.abs(f)."
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
