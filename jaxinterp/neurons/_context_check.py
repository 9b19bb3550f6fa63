"""A context neuron, checked from three sides."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import viz
from .._deprecations import respelled
from .._settings import takes_settings
from ..stats._results import Record, Result
from ..typing import ArrayLike, ClassesLike, KeyLike, ModelLike, NeuronsLike
from ._ablation import Ablation, ablation
from ._address import as_neurons, name
from ._contexts import as_contexts, index_of
from ._distribution import Distribution, distribution
from ._token_means import TokenMeans, token_means


@dataclass(frozen=True, eq=False)
class ContextCheck(Result):
    """Whether a neuron fires on one class of texts; made by `ji.neurons.context_check`.

    - `separation`: the probability that the activation at a token of the class is above that at a token of the other
      classes, from the histograms (ties count half).
    - `distribution`, `ablation`, `off_class`: the results of the three checks.

    ```python
    settings = ji.neurons.ContextCheckSettings(skip=2, least=1)
    check = ji.neurons.context_check(model, corpus, (3, 336), "de", settings=settings)
    check.separation, check.ablation.increase, check.off_class.records(tokenizer)[0]
    ```
    """

    neuron: tuple[int, int]
    own: str
    separation: float
    distribution: Distribution
    ablation: Ablation
    off_class: TokenMeans

    def records(self) -> list[Record]:
        """A dict for each class: how active the neuron is there, and the rise of the loss without it."""
        moments, losses = self.distribution, self.ablation
        return [
            {
                "neuron": name(self.neuron),
                "class": each,
                "own": each == self.own,
                "mean": float(moments.mean[moments.names.index(each), 0]),
                "median": float(moments.quantile(0.5)[moments.names.index(each), 0]),
                "increase": float(losses.increase[0, c]),
                "low": float(losses.low[0, c]),
                "high": float(losses.high[0, c]),
                "percent": float(losses.percent[0, c]),
            }
            for c, each in enumerate(losses.names)
        ]

    def figure(self, *, title: str = "") -> viz.Figure:
        """The distribution of the activation by class; `figures` has the other checks too."""
        return self.distribution.figure(title=title or f"Neuron {name(self.neuron)} by class")

    def figures(self, tokenizer: Any) -> list[viz.Figure]:
        """Histograms, losses and off-class tokens, for a page."""
        rows = [
            [r["class"], r["mean"], r["increase"], r["low"], r["high"], r["percent"]] for r in self.records()
        ]
        off = [[viz.visible(r["token"]), r["mean"], r["count"]] for r in self.off_class.records(tokenizer)]
        called = name(self.neuron)
        return [
            self.distribution.figure(title=f"Neuron {called} by class"),
            viz.table(
                ["class", "mean activation", "loss without it, more by (nats)", "from", "to", "%"],
                rows,
                title=f"The loss without {called}",
            ),
            viz.table(
                ["token", "mean activation", "count"],
                off,
                title=f"Where {called} fires outside of {self.own}",
            ),
        ]


@dataclass(frozen=True)
class ContextCheckSettings:
    """Settings of the three checks of `ji.neurons.context_check`.

    - `to`: the value to which `ablation` sets the neuron: `"zero"` (the default), `"mean"` or a number.
    - `least`: the smallest number of times that a token occurs, as in `token_means`; 21 by default.
    - `top`: tokens of other classes that are listed, 20 by default.
    - `skip`: first tokens of a context that do not count, 10 by default.
    - `bins`: of the histograms, 100 by default.

    ```python
    settings = ji.neurons.ContextCheckSettings(to="mean", skip=2, least=5)
    ```
    """

    to: str | ArrayLike = "zero"
    least: int = 21
    top: int = 20
    skip: int = 10
    bins: int = 100


@respelled(
    batch="batch_size=",
    k="settings=ji.neurons.ContextCheckSettings(top=20)",
    bootstrap="resamples=",
    to='settings=ji.neurons.ContextCheckSettings(to="zero")',
    least="settings=ji.neurons.ContextCheckSettings(least=21)",
    top="settings=ji.neurons.ContextCheckSettings(top=20)",
    skip="settings=ji.neurons.ContextCheckSettings(skip=10)",
    bins="settings=ji.neurons.ContextCheckSettings(bins=100)",
)
@takes_settings
def context_check(
    model: ModelLike,
    classes: ClassesLike,
    neuron: NeuronsLike,
    own: str,
    *,
    settings: ContextCheckSettings = ContextCheckSettings(),
    site: str = "mlp_post",
    resamples: int = 1000,
    key: KeyLike | None = None,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> ContextCheck:
    r"""$(n_{cb},\ \Delta_c,\ \bar a(v))$: the histograms, the losses by class and the off-class tokens of one neuron.

    These are the three checks of a context neuron in Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `model`, `classes`, `site`, `batch_size`, `progress`: as in `distribution`.
    - `neuron`: a pair `(layer, neuron)`.
    - `own`: the name of the class that the neuron is expected to fire on.
    - `settings`: a `ContextCheckSettings`.
    - `resamples`, `key`: as in `ablation`.

    **Returns:** `ContextCheck`.

    **Raises:** as these functions; `ValueError` for several neurons and for a class that does not exist.

    ```python
    settings = ji.neurons.ContextCheckSettings(skip=2, least=1)
    check = ji.neurons.context_check(model, corpus, (3, 336), "de", settings=settings)
    check.separation, check.records()[0]["increase"]
    ```

    Law: its parts are the results of `distribution`, `ablation` and `token_means`.
    """
    chosen = as_neurons(model, neuron, site)
    if len(chosen) != 1:
        raise ValueError(f"context_check takes one neuron, (layer, neuron); got {len(chosen)}.")
    skip = settings.skip
    contexts = as_contexts(model, classes, skip=skip)
    mine = index_of(contexts.names, own)
    if len(contexts.names) < 2:
        raise ValueError(f"context_check compares {own!r} with other classes; there is none.")
    options: dict[str, Any] = dict(site=site, batch_size=batch_size, progress=progress)
    spread = distribution(model, classes, chosen, skip=skip, bins=settings.bins, **options)
    effect = ablation(model, classes, chosen, to=settings.to, resamples=resamples, key=key, **options)
    counted = {"least": settings.least, "top": settings.top, "skip": skip}
    off = token_means(model, classes, chosen, without=own, **counted, **options)
    inside = spread.counts[mine, 0].astype(float)
    outside = spread.counts[:, 0].sum(0) - inside
    below = np.cumsum(outside) - outside / 2
    separation = float((inside * below).sum() / (inside.sum() * outside.sum()))
    return ContextCheck((int(chosen[0, 0]), int(chosen[0, 1])), own, separation, spread, effect, off)
