"""How a neuron's activations are distributed in each class of text."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from .._deprecations import respelled
from ..corpus._batches import Batch
from ..stats._results import Record, Result
from ..typing import ClassesLike, ModelLike, NeuronsLike
from ._address import as_neurons, name
from ._contexts import as_contexts, index_of
from ._moments import Moments, of_batch
from ._reading import fold_neurons


@dataclass(frozen=True, eq=False)
class Distribution(Result):
    """Histograms and moments of activations per token; made by `ji.neurons.distribution`.

    - `neurons (n, 2)`, `names`: the neurons and the classes.
    - `edges (n, bins + 1)`, `counts (class, n, bins)`: the histograms; `tokens (class,)`: how many were counted.
    - `mean std skew kurtosis low high (class, n)`: population moments (the kurtosis of a Gaussian is 3), and the
      smallest and the largest activation.

    ```python
    found = ji.neurons.distribution(model, corpus, [(3, 336)], skip=2)
    found.mean, found.quantile([0.1, 0.9]), found.mean_of("de")
    ```
    """

    neurons: np.ndarray
    names: tuple[str, ...]
    edges: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    skew: np.ndarray
    kurtosis: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def quantile(self, q: Any) -> np.ndarray:
        """Quantiles `(class, n)`, or `(q, class, n)` for several, to within the width of a bin."""
        levels = np.atleast_1d(np.asarray(q, np.float64))
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"Quantiles lie between 0 and 1; got {q}.")
        below = np.cumsum(self.counts, -1, dtype=np.float64)
        below = np.concatenate([np.zeros((*below.shape[:-1], 1)), below], -1)
        share = below / np.maximum(below[..., -1:], 1)
        found = np.empty((len(levels), *self.counts.shape[:2]))
        for c, i in np.ndindex(*self.counts.shape[:2]):
            found[:, c, i] = np.interp(levels, share[c, i], self.edges[i])
        return np.clip(found, self.low, self.high)[0 if np.ndim(q) == 0 else slice(None)]

    def mean_of(self, *classes: str) -> np.ndarray:
        """`(n,)`: each neuron's mean over the tokens of some classes: what `ablation(to=)` takes."""
        rows = [index_of(self.names, each) for each in classes or self.names]
        weight = self.tokens[rows, None]
        return (self.mean[rows] * weight).sum(0) / weight.sum()

    def records(self) -> list[Record]:
        """One dict for each class and neuron."""
        quantiles = self.quantile([0.05, 0.5, 0.95])
        return [
            {
                "neuron": name(self.neurons[i]),
                "class": self.names[c],
                "tokens": int(self.tokens[c]),
                **{
                    what: float(getattr(self, what)[c, i])
                    for what in ("mean", "std", "skew", "kurtosis", "low", "high")
                },
                **{label: float(quantiles[q, c, i]) for q, label in enumerate(("q05", "median", "q95"))},
            }
            for c, i in np.ndindex(*self.mean.shape)
        ]

    def figure(self, neuron: int = 0, *, title: str = "", caption: str = "") -> viz.Figure:
        """The histograms of one neuron (its number among `neurons`), a curve for each class.

        **Arguments:**

        - `neuron`: its number among `neurons`; 0 by default.
        - `title`, `caption`: texts; by default the name of the neuron, and none.
        """
        return viz.histogram(
            self._of(neuron),
            self.edges[neuron],
            title=title or f"Neuron {name(self.neurons[neuron])}",
            x_axis="activation",
            y_axis="share of tokens",
            caption=caption,
        )

    def draw(self, neuron: int = 0, *, ax: Any = None, title: str = "") -> Any:
        """The same with matplotlib, on your own axes."""
        return viz.mpl.histogram(
            self._of(neuron),
            self.edges[neuron],
            ax=ax,
            title=title or f"Neuron {name(self.neurons[neuron])}",
            x_axis="activation",
            y_axis="share of tokens",
        )

    def _of(self, neuron: int) -> dict[str, np.ndarray]:
        return {each: self.counts[c, neuron] for c, each in enumerate(self.names)}


@respelled(batch="batch_size=", k="top=", bootstrap="resamples=")
def distribution(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None,
    *,
    site: str = "mlp_post",
    skip: int = 10,
    bins: int = 100,
    limits: tuple[float | int, float | int] | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> Distribution:
    r"""$n_{cjb} = |\{t \in c : e_b \le a_j(t) < e_{b+1}\}|$: histograms of activations per token, by class.

    This is check (i) of a context neuron in Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610). Contexts are read
    batch by batch, and the activations of one batch are in memory at a time.

    **Arguments:**

    - `classes`: a `ji.data.Corpus`, whose documents' labels are the classes; or a dict from class to
      a `Corpus`, tokens `(seq, pos)` or `(tokens, mask)`.
    - `model`: the model that reads the texts.
    - `neurons`: pairs `(layer, neuron)`; None is all of them.
    - `site`: `"mlp_post"`, or `"mlp_pre"` for what goes into the nonlinearity.
    - `skip`: first positions of a context, which do not count; 10 by default.
    - `bins`: bins of a histogram; 100 by default.
    - `limits`: the ends of the histograms; values beyond them count in the last bin. By default None: a first
      pass over the contexts finds the smallest and the largest value of each neuron.
    - `batch_size`: contexts in one pass; "auto" (by default) keeps a pass within 256 MB.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `Distribution`.

    **Raises:** `ValueError` or `IndexError` for neurons and classes that do not exist.

    ```python
    model, tokenizer = ji.load("tiny")
    texts = [("The old man walked along the river.", "en"), ("Der alte Mann ging am Fluss.", "de")]
    corpus = ji.data.pack(tokenizer, texts, ctx=32)
    found = ji.neurons.distribution(model, corpus, [(3, 336)], skip=2)
    found.mean, found.quantile(0.5)                      # (class, 1)
    found.figure().save("neuron.html")
    ```

    Law: counts are `numpy.histogram` of all activations, and moments are those of all tokens.
    """
    contexts = as_contexts(model, classes, skip=skip)
    chosen = as_neurons(model, neurons, site)
    if not len(chosen):
        raise ValueError("distribution needs at least one neuron: neurons=[(3, 336)].")
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins is a number of bins, at least 1; got {bins!r}.")
    if limits is not None and not limits[0] < limits[1]:
        raise ValueError(f"limits=(low, high) need low < high; got {limits}.")
    many = len(contexts.names)
    moments = Moments.nothing(many, len(chosen))
    counts = np.zeros((many, len(chosen), int(bins)), np.int64)
    edges = (
        None
        if limits is None
        else _edges(np.full(len(chosen), limits[0]), np.full(len(chosen), limits[1]), bins)
    )
    how: dict[str, Any] = {"batch_size": batch_size}

    def step(state: Any, batch: Batch, x: Any) -> Any:
        moments, counts = state
        more = 0 if edges is None else _counts(x, batch, edges, many)
        return moments.merged(of_batch(x, batch, many)), counts + more

    def count(counts: Any, batch: Batch, x: Any) -> Any:
        return counts + _counts(x, batch, edges, many)

    how["progress"] = "moments" if progress else False
    moments, counts = fold_neurons(model, contexts, chosen, site, (moments, counts), step, **how)
    if edges is None:
        edges = _edges(moments.low.min(0), moments.high.max(0), bins)
        how["progress"] = "histograms" if progress else False
        counts = fold_neurons(model, contexts, chosen, site, counts, count, **how)
    mean, std, skew, kurtosis = moments.standardised()
    tokens = np.bincount(contexts.label, contexts.corpus.positions.sum(1), many).astype(np.int64)
    return Distribution(
        chosen,
        contexts.names,
        edges,
        counts,
        tokens,
        mean,
        std,
        skew,
        kurtosis,
        moments.low,
        moments.high,
    )


def _edges(low: np.ndarray, high: np.ndarray, bins: int) -> np.ndarray:
    """Evenly spaced, float32 as the activations are, so that the largest value is inside."""
    flat = low == high
    low, high = np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)
    edges = np.linspace(low, high, bins + 1, axis=-1).astype(np.float32)
    edges[:, 0], edges[:, -1] = low, high
    return edges


def _counts(x: Any, batch: Batch, edges: Any, classes: int) -> np.ndarray:
    return np.asarray(_histogram(x, batch.extra, batch.positions, jnp.asarray(edges), classes))


@eqx.filter_jit
def _histogram(x: Any, label: Any, counted: Any, edges: Any, classes: int) -> Any:
    n, bins = edges.shape[0], edges.shape[1] - 1
    flat = x.reshape(n, -1)
    place = jax.vmap(lambda e, v: jnp.searchsorted(e, v, side="right"))(edges, flat) - 1
    place = jnp.clip(place, 0, bins - 1)
    label = jnp.broadcast_to(label[:, None], counted.shape).reshape(1, -1)
    counted = counted.reshape(1, -1).astype(jnp.int32)
    row = jnp.arange(n)[:, None]
    wide = lambda each: jnp.broadcast_to(each, flat.shape)
    zeros = jnp.zeros((classes, n, bins), jnp.int32)
    return zeros.at[wide(label), wide(row), place].add(wide(counted))
