"""Entropy neurons: neurons that change a prediction through the scale of the last norm."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import viz
from .._settings import takes_settings
from ..core._check import as_int, as_selector, check_choice, check_selector
from ..corpus._checkpoint import Checkpoint
from ..stats._results import Record, Result
from ..typing import CorpusLike, IndexLike, IntLike, KeyLike, ModelLike, PathLike, StrLike
from ._address import name
from ._clamp_sums import ClampSettings, clamp_sums, intervals, means_of, predicting
from ._null_space import NullSpace, as_rank, null_of, vocabulary_moments
from ._unembedding import as_layer, check_readout, written

BY_WEIGHTS = ("norm", "rho", "logit_var")
BY_EFFECT = ("mean", "total", "direct", "mediated", "loss", "entropy", "rank")


@dataclass(frozen=True, eq=False)
class EntropyNeurons(Result):
    """Weights and effects of the neurons of a layer; made by `ji.neurons.entropy_neurons`.

    From weights, each `(n,)`: `norm` of the output weights; `rho`, their share in the null space; `logit_var`.

    From mean ablation, each `(n,)` and a mean over tokens: `total` and `direct`, absolute changes of the loss in
    nats; `mediated`, the share 1 - direct / total; `loss`, `entropy` and `rank` of the next token, each for the
    ablated model minus the unchanged model. `mean` is the activation that a neuron was set to.

    - `low`, `high`: ends of intervals over documents, `{"total": (n,), ...}`, for `total`, `direct`,
      `mediated`, `loss`, `entropy` and `rank`.
    - `layer`, `neurons (n,)`: which they are; `null`, the `NullSpace`.
    - `base`: `loss`, `entropy` and `rank` of the model as it is.
    - `tokens`, `documents`: how many were read.

    ```python
    found = ji.neurons.entropy_neurons(model, corpus, neurons=[17, 318])
    found.top(1), found.top(1, by="mediated")
    found.low["total"], found.total, found.high["total"]
    found.figure("total", "direct")
    ```
    """

    layer: int
    neurons: np.ndarray
    norm: np.ndarray
    rho: np.ndarray
    logit_var: np.ndarray
    mean: np.ndarray
    total: np.ndarray
    direct: np.ndarray
    mediated: np.ndarray
    loss: np.ndarray
    entropy: np.ndarray
    rank: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    null: NullSpace
    base: dict[str, float]
    tokens: int
    documents: int

    def top(self, top: IntLike = 10, *, by: StrLike = "rho") -> np.ndarray:
        """Numbers `(top,)` of neurons in the layer, those with the largest `by` first.

        **Arguments:**

        - `top`: how many; 10 by default.
        - `by`: a column: "rho" (by default), "mediated", "total", "norm", ...
        """
        return self.neurons[self._order(by)[: as_int(top, "top", 1)]]

    def records(self) -> list[Record]:
        """A row for each neuron, those with the largest rho first."""
        found = []
        for i in self._order("rho"):
            row: Record = {"neuron": name((self.layer, self.neurons[i]))}
            row |= {column: float(getattr(self, column)[i]) for column in (*BY_WEIGHTS, *BY_EFFECT)}
            for part in self.low:
                row |= {f"{part}_low": float(self.low[part][i]), f"{part}_high": float(self.high[part][i])}
            found.append(row)
        return found

    def figure(self, x: StrLike = "norm", y: StrLike = "logit_var", *, top: IntLike = 10) -> viz.Figure:
        """Neurons as points of two columns; those with the largest rho have a colour of their own.

        **Arguments:**

        - `x`, `y`: columns, such as `"rho"` and `"mediated"`, or `"total"` and `"direct"`.
        - `top`: how many are coloured; 10 by default.
        """
        for column in (x, y):
            check_choice(column, "A column", (*BY_WEIGHTS, *BY_EFFECT))
        order = self._order("rho")
        cut = min(as_int(top, "top", 0), len(order))
        pick = lambda rows: (getattr(self, x)[rows], getattr(self, y)[rows])
        series = {"others": pick(order[cut:]), f"{cut} with the largest rho": pick(order[:cut])}
        return viz.scatter(
            {label: pair for label, pair in series.items() if len(pair[0])},
            title=f"Neurons of layer {self.layer}",
            x_axis=x,
            y_axis=y,
        )

    def _order(self, by: str) -> np.ndarray:
        check_choice(by, "by", (*BY_WEIGHTS, *BY_EFFECT))
        column = np.asarray(getattr(self, by))
        return np.argsort(-np.where(np.isnan(column), -np.inf, column), kind="stable")


@takes_settings
def entropy_neurons(
    model: ModelLike,
    corpus: CorpusLike,
    layer: IntLike = -1,
    *,
    neurons: IndexLike | None = None,
    null_rank: IntLike | None = None,
    settings: ClampSettings = ClampSettings(),
    key: KeyLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> EntropyNeurons:
    r"""$\rho = \frac{\lVert N^\top w \rVert}{\lVert w \rVert},\quad \mathrm{TE} = \overline{|\ell' - \ell|},\quad 1 - \mathrm{DE} / \mathrm{TE}$: neurons that act through the scale of the last norm.

    An entropy neuron has large output weights $w$ that hardly change a logit directly. When it is set to its mean, the
    loss changes through the scale of the last norm. So the direct effect DE, with this scale kept fixed, is small
    compared with the total effect TE. Stolfo et al. 2024 (https://arxiv.org/abs/2406.16254), Gurnee et al. 2024
    (https://arxiv.org/abs/2401.12181).

    **Arguments:**

    - `model`: any of `ji.models` with MLPs and a last norm, LayerNorm or RMSNorm, folded or not.
    - `corpus`: a `Corpus`, tokens `(row, pos)`, or `(tokens, mask)`. A neuron acts at the tokens that count and
      have a next token. The first 3 of a context are left out, as in the paper's code (`ClampSettings(skip=)`).
    - `layer`: the last layer by default. There an ablation changes the last stream along one direction, so that the exact
      effect needs no second run. For an earlier layer the layers after it run again for each neuron, and the
      direct effect keeps only the scale of the last norm fixed.
    - `neurons`: ints `(n,)`; all of the layer by default.
    - `null_rank`: the number of directions of the null space; by default by the rule of `null_space`.
    - `settings`: a `ClampSettings`: positions, intervals, memory.
    - `key`: draws the resamples; `jax.random.key(0)` by default.
    - `checkpoint`: a file, or a `ji.corpus.Checkpoint`; an interrupted call continues from it.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `EntropyNeurons`. `mediated` is NaN for a neuron without any effect.

    **Raises:** ValueError for a model without MLPs or without a last norm, an intervened one, and contexts that
    are too short; IndexError for layers and neurons that there are not.

    ```python
    found = ji.neurons.entropy_neurons(model, corpus)
    found.top(5), found.mediated[found.top(5)], found.null.rank
    found.figure("rho", "mediated").save("entropy_neurons.html")
    ```

    Laws: effects are those of runs with `ji.replace("mlp_post", mean, ...)`; the planted entropy neuron of
    `ji.toy.planted_unembed` has no direct effect, rho 1 and LogitVar 0; folding norms changes nothing.
    """
    inner = check_readout(model, "entropy_neurons")
    number = as_layer(inner, layer, "entropy_neurons")
    units = as_units(neurons, int(inner.blocks.mlp.w_out.shape[1]))
    contexts = predicting(inner, corpus, int(settings.skip))
    moments = vocabulary_moments(inner)
    null = null_of(moments, as_rank(inner, null_rank))
    out = written(inner, number)[units]
    means = means_of(inner, contexts, number, settings, progress)[units]
    bar = "entropy neurons" if progress else False
    how: dict[str, Any] = {"settings": settings, "checkpoint": checkpoint, "progress": bar}
    sums = clamp_sums(inner, contexts, number, units, means, **how)
    parts = {
        **{part: (np.asarray, sums.changes[part]) for part in ("total", "direct", "loss", "entropy", "rank")},
        "mediated": (mediated, sums.changes["direct"], sums.changes["total"]),
    }
    call = "ji.neurons.entropy_neurons(..., key={})"
    ends = intervals(parts, sums.tokens, settings, key, call)
    total, direct = sums.mean("total"), sums.mean("direct")
    return EntropyNeurons(
        layer=number,
        neurons=units,
        norm=np.linalg.norm(out, axis=-1),
        rho=null.share(out),
        logit_var=moments.logit_var(out),
        mean=means,
        total=total,
        direct=direct,
        mediated=mediated(direct, total),
        loss=sums.mean("loss"),
        entropy=sums.mean("entropy"),
        rank=sums.mean("rank"),
        low={part: each[0] for part, each in ends.items()},
        high={part: each[1] for part, each in ends.items()},
        null=null,
        base={part: sums.base_mean(part) for part in ("loss", "entropy", "rank")},
        tokens=int(sums.tokens.sum()),
        documents=len(np.unique(contexts.document)),
    )


def mediated(direct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The share of a total effect that is not direct; NaN where there is no effect."""
    return np.where(total > 0, 1 - direct / np.where(total > 0, total, 1), np.nan)


def as_units(neurons: Any, width: int) -> np.ndarray:
    """Units of a layer as ints `(n,)` from 0; None is all of them."""
    if neurons is None:
        return np.arange(width)
    chosen = np.asarray(as_selector(neurons, "neurons"))
    if chosen.size:
        check_selector("neuron", chosen, width, (), "neurons")
    if chosen.dtype == bool:
        chosen = np.flatnonzero(chosen)
    if not chosen.size or chosen.ndim > 1:
        raise ValueError(
            f"neurons are ints (n,) of one layer, at least one: neurons=[3, 17]; got the shape {chosen.shape}."
        )
    return np.atleast_1d(chosen) % width
