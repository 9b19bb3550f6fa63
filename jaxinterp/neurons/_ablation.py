"""What neurons are worth: the loss of each class of text without them."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .. import viz
from .._arguments import as_int
from .._deprecations import respelled
from .._random import host_generator
from ..stats._intervals import check_level, resample_counts, widened_levels
from ..stats._results import Record, Result
from ..typing import ArrayLike, ClassesLike, KeyLike, ModelLike, NeuronsLike
from ._ablation_values import predicted, values_of
from ._address import as_neurons, name, units_of
from ._contexts import Contexts, as_contexts
from ._losses import GroupLosses, grouped
from ._reading import fold_losses

ALL_TOGETHER = 'result.rows[-1]: of several neurons, the last row is "all together"'


@dataclass(frozen=True, eq=False)
class Ablation(Result):
    """Losses with and without neurons; made by `ji.neurons.ablation`.

    - `rows`: the ablated neuron of each row, such as `"3.336"`, or `"all together"`; `names`: the classes.
    - `base (class,)`: nats per token of the unchanged model; `loss (row, class)`: nats per token with the ablation.
    - `increase low high (row, class)`: the rise of the loss in nats, with its interval;
      `percent percent_low percent_high`: the same in percent of the base.
    - `tokens documents (class,)`: how many were read. `neurons (n, 2)`, `values (n,)`: the values they were set to.

    ```python
    found = ji.neurons.ablation(model, corpus, [(3, 336)])
    found.names, found.base, found.increase, found.low, found.high
    ```
    """

    neurons: np.ndarray
    values: np.ndarray
    rows: tuple[str, ...]
    names: tuple[str, ...]
    base: np.ndarray
    loss: np.ndarray
    increase: np.ndarray
    low: np.ndarray
    high: np.ndarray
    percent: np.ndarray
    percent_low: np.ndarray
    percent_high: np.ndarray
    tokens: np.ndarray
    documents: np.ndarray
    level: float

    def records(self) -> list[Record]:
        """One dict for each row and class."""
        parts = ("loss", "increase", "low", "high", "percent", "percent_low", "percent_high")
        return [
            {
                "ablated": self.rows[r],
                "class": self.names[c],
                "base": float(self.base[c]),
                **{part: float(getattr(self, part)[r, c]) for part in parts},
                "tokens": int(self.tokens[c]),
                "documents": int(self.documents[c]),
            }
            for r, c in np.ndindex(*self.loss.shape)
        ]

    def figure(self, *, title: str = "Loss without neurons") -> viz.Figure:
        """A heat map of the rise of the loss, with its interval, by row and class."""
        ends = self.low, self.high
        labels = {"rows": self.rows, "cols": self.names, "axis_names": ("ablated", "class")}
        return viz.heatmap(
            self.increase, interval=ends, value="rise of the loss (nats)", title=title, **labels
        )


@respelled(
    batch="batch_size=",
    k="top=",
    bootstrap="resamples=",
    together=ALL_TOGETHER,
    jointly=ALL_TOGETHER,
)
def ablation(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None,
    *,
    to: str | ArrayLike = "zero",
    site: str = "mlp_post",
    skip: int = 0,
    resamples: int = 1000,
    level: float | int = 0.95,
    key: KeyLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> Ablation:
    r"""$\Delta_c = \frac{1}{n_c} \sum_{t \in c} \ell_t(M \mid a_j \leftarrow v_j) - \ell_t(M)$: the rise of the loss without neurons.

    Each neuron is set to a value at every position, one neuron at a time, and then all neurons together. The losses are
    those of each class of texts. This is check (ii) of a context neuron in Gurnee et al. 2023
    (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `model`, `classes`, `neurons`, `site`, `batch_size`, `progress`: as in `distribution`. An empty list of
      neurons is allowed.
    - `to`: the value: `"zero"`; `"mean"`, the mean of the neuron over all tokens that count; a number; or one number
      for each neuron, such as `distribution(...).mean_of("en")`.
    - `skip`: the number of first tokens of a context whose losses do not count; 0 by default.
    - `resamples`: resamples of documents for the intervals; 1000 by default.
    - `level`: coverage of the intervals; 0.95 by default.
    - `key`: draws the resamples; `jax.random.key(0)` by default.

    **Returns:** `Ablation`. For several neurons, the last row ablates all of them. Losses are sums over
    tokens divided by the number of tokens. An interval needs two documents, and is NaN for one. The percentile
    bootstrap is too narrow for few documents. The ends are therefore quantiles further out, by the factor
    by which Student's distribution is wider than the normal one (Hesterberg 2015,
    https://arxiv.org/abs/1411.5279). For effects that vary normally between documents of uneven length,
    intervals of 0.95 contain the true effect in 0.87 of samples of 4 documents, 0.94 of 9 and 0.95 of 50
    (percentile: 0.79, 0.89 and 0.94).

    **Raises:** as `distribution`.

    ```python
    found = ji.neurons.ablation(model, corpus, [(3, 336)])
    dict(zip(found.names, found.increase[0]))            # nats per token
    ```

    Law: it is equal to a run with `ji.replace(site, value, layer=, unit=)` for each neuron; to ablate no
    neuron changes nothing, bit for bit. One program serves all neurons and values.
    """
    contexts = as_contexts(model, classes, skip=skip)
    chosen = as_neurons(model, neurons, site)
    layers, _ = units_of(model, site)
    level, resamples = check_level(level), as_int(resamples, "resamples", 0)
    contexts = predicted(contexts)
    values = values_of(model, contexts, chosen, to, site, batch_size, progress)
    groups = [[i] for i in range(len(chosen))]
    rows = [name(each) for each in chosen]
    if len(chosen) != 1:
        groups.append(list(range(len(chosen))))
        rows.append("all together")
    base, without = document_losses(
        model, contexts, chosen, values, groups, layers, site, batch_size, progress
    )
    counts = np.bincount(contexts.document, contexts.corpus.positions[:, 1:].sum(1))
    owner = np.zeros(len(counts), np.int64)
    owner[contexts.document] = contexts.label
    key = jax.random.key(0) if key is None else key
    rng, found = host_generator(key, "ji.neurons.ablation(..., key={})"), []
    for c in range(len(contexts.names)):
        mine = owner == c
        found.append(_interval(base[mine], without[:, mine], counts[mine], resamples, level, rng))
    base, loss, increase, *ends = (np.stack(each, -1) for each in zip(*found, strict=True))
    low, high, percent, percent_low, percent_high = ends
    tokens = np.bincount(owner, counts, len(contexts.names)).astype(np.int64)
    return Ablation(
        chosen,
        values,
        tuple(rows),
        contexts.names,
        base,
        loss,
        increase,
        low,
        high,
        percent,
        percent_low,
        percent_high,
        tokens,
        np.bincount(owner, minlength=len(contexts.names)),
        float(level),
    )


def document_losses(
    model: Any,
    contexts: Contexts,
    neurons: np.ndarray,
    values: np.ndarray,
    groups: list[list[int]],
    layers: int,
    site: str,
    batch_size: int | str | None,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of nats of each document, `(document,)` and `(group, document)`, in float64."""
    many = int(contexts.document.max()) + 1
    base, without = np.zeros(many), np.zeros((len(groups), many))

    def step(state: Any, rows: np.ndarray, as_is: np.ndarray, ablated: np.ndarray) -> Any:
        of = contexts.document[rows]
        np.add.at(state[0], of, as_is)
        for g in range(len(groups)):
            np.add.at(state[1][g], of, ablated[g])
        return state

    own = GroupLosses(model, *grouped(neurons, values, groups, layers), site)
    how: dict[str, Any] = {"batch_size": batch_size, "progress": "ablation" if progress else False}
    return fold_losses(model, contexts, site, own, (base, without), step, **how)


def _interval(
    base: np.ndarray,
    without: np.ndarray,
    counts: np.ndarray,
    draws: int,
    level: float | int,
    rng: np.random.Generator,
) -> tuple[Any, ...]:
    """Base, loss, increase, its ends, percent, its ends, of one class: `()` and `(row,)`."""
    total, tokens = base.sum(), counts.sum()
    loss = without.sum(1) / tokens
    increase = (without - base).sum(1) / tokens
    percent = 100 * (without - base).sum(1) / total
    ends = np.full((4, len(without)), np.nan)
    if draws and len(base) > 1:
        weights = resample_counts(rng, len(base), draws)
        gaps = weights @ (without - base).T  # (draw, row)
        levels = widened_levels(level, len(base))
        ends[:2] = np.quantile(gaps / np.maximum(weights @ counts, 1)[:, None], levels, axis=0)
        ends[2:] = np.quantile(100 * gaps / np.maximum(weights @ base, 1e-300)[:, None], levels, axis=0)
    return total / tokens, loss, increase, ends[0], ends[1], percent, ends[2], ends[3]
