"""Neurons that other trainings of the same model have too."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from .. import viz
from .._arguments import as_number, check_choice
from ..core._sites import parse
from ..corpus._checkpoint import Checkpoint, beside
from ..stats._results import Record, Result
from ..typing import BytesLike, CorpusLike, FloatLike, KeyLike, MeshLike, ModelLike, PathLike, StrLike
from ._chance import BASELINES
from ._correlations import correlations
from ._properties import NeuronProperties, neuron_properties, numbers_of
from ._units import UnitStream, named


@dataclass(frozen=True, eq=False)
class Universal(Result):
    """How well each neuron of the first model is matched in the other models; made by `ji.neurons.universal`.

    ```python
    found = ji.neurons.universal([model, *seeds], tokens, threshold=0.3)
    found.share, found.mask, found.layers()
    ```
    """

    excess: np.ndarray
    "Best correlation minus baseline, the mean over the other models, `(neuron,)`."
    correlations: np.ndarray
    "The best correlation in each other model, `(model, neuron)`."
    baselines: np.ndarray
    "The best correlation with units of chance, `(model, neuron)`."
    partners: np.ndarray
    "Layer and unit of the best match in each other model, `(model, neuron, 2)`."
    neurons: np.ndarray
    "Layer and unit of each neuron of the first model, `(neuron, 2)`."
    tokens: int
    "How many tokens were read."
    threshold: float
    "Above which excess a neuron is called universal."
    properties: NeuronProperties | None
    "Numbers of each neuron; None for another site than `mlp_post`."

    @property
    def mask(self) -> np.ndarray:
        """Which neurons are universal, `(neuron,)`."""
        return self.excess > self.threshold

    @property
    def share(self) -> float:
        """The share of neurons that are universal."""
        return float(self.mask.mean())

    def records(self) -> list[Record]:
        """A row for each neuron, the most universal first, with its best match in each other model."""
        mine, theirs = named(self.neurons), [named(each) for each in self.partners]
        rows: list[Record] = []
        for i in np.argsort(-self.excess, kind="stable"):
            row: Record = {"neuron": mine[i], "excess": float(self.excess[i])}
            row["correlation"] = float(self.correlations[:, i].mean())
            row |= {"universal": bool(self.mask[i]), "partners": [each[i] for each in theirs]}
            rows.append(row)
        return rows

    def layers(self) -> list[Record]:
        """A row for each layer: how many neurons are universal, and how often matches stand in the same layer."""
        rows: list[Record] = []
        for layer in np.unique(self.neurons[:, 0]):
            here = self.neurons[:, 0] == layer
            kept = here & self.mask
            same = self.partners[:, kept, 0] == layer
            rows.append(
                {
                    "layer": int(layer),
                    "neurons": int(here.sum()),
                    "universal": int(kept.sum()),
                    "share": float(self.mask[here].mean()),
                    "excess": float(self.excess[here].mean()),
                    "correlation": float(self.correlations[:, here].mean()),
                    "baseline": float(self.baselines[:, here].mean()),
                    "same_layer": float(same.mean()) if same.size else None,
                }
            )
        return rows

    def contrast(self) -> list[Record]:
        """A row for each property: medians of universal and other neurons, and how often a universal neuron has
        the larger value than another of its layer, `above` (0.5: no difference).

        **Raises:** ValueError where there are no properties, or no neuron is universal, or all are.
        """
        if self.properties is None:
            raise ValueError(
                "Only neurons have properties: ji.neurons.universal(models, corpus, 'mlp_post')."
            )
        if self.mask.all() or not self.mask.any():
            raise ValueError(
                f"{'All' if self.mask.all() else 'No'} neurons have an excess above {self.threshold:g}, so there "
                f"is nothing to compare; the excess lies in {self.excess.min():.3f}..{self.excess.max():.3f}: "
                "give another threshold=."
            )
        rows: list[Record] = []
        for name, x in numbers_of(self.properties).items():
            if not np.isfinite(x).all():
                continue
            medians = {
                key: float(np.median(x[part]))
                for key, part in (("universal", self.mask), ("others", ~self.mask))
            }
            rows.append({"property": name, **medians, "above": self._above(x)})
        return rows

    def figure(self, *, title: str = "", caption: str = "") -> viz.Figure:
        """How the excess is distributed over neurons, a curve for each layer.

        **Arguments:**

        - `title`, `caption`: texts; by default the share of universal neurons, and none.
        """
        edges = np.linspace(min(0.0, float(self.excess.min())), 1, 41)
        layer = self.neurons[:, 0]
        counts = {
            f"layer {each}": np.histogram(self.excess[layer == each], edges)[0] for each in np.unique(layer)
        }
        return viz.histogram(
            counts,
            edges,
            title=title or f"{100 * self.share:.1f}% of neurons have an excess above {self.threshold:g}",
            x_axis="excess correlation",
            y_axis="share of neurons",
            caption=caption,
        )

    def _above(self, x: np.ndarray) -> float:
        """The chance that a universal neuron has the larger value of two in a layer; ties count half."""
        wins, pairs = 0.0, 0
        for layer in np.unique(self.neurons[:, 0]):
            here = self.neurons[:, 0] == layer
            own, rest = x[here & self.mask], np.sort(x[here & ~self.mask])
            below, up_to = np.searchsorted(rest, own, "left"), np.searchsorted(rest, own, "right")
            wins, pairs = wins + float((below + up_to).sum()) / 2, pairs + len(own) * len(rest)
        return wins / pairs if pairs else float("nan")


def universal(
    models: Sequence[ModelLike],
    corpus: CorpusLike,
    site: StrLike = "mlp_post",
    *,
    threshold: FloatLike = 0.5,
    baseline: StrLike = "rotation",
    key: KeyLike | None = None,
    batch_size: int | str = "auto",
    max_bytes: BytesLike = "auto",
    mesh: MeshLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
) -> Universal:
    r"""$\rho_i = \frac{1}{|M|}\sum_{m \in M} \big(\max_j r^{a,m}_{ij} - \max_j \bar r^{a,m}_{ij}\big)$: the excess
    correlation of each neuron of the first model over the other models.

    Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181) call a neuron universal if its excess is above 0.5. Over five
    seeds, these are 4.16% of the neurons of GPT-2 small, 1.23% of GPT-2 medium and 1.26% of Pythia 160M.

    **Arguments:**

    - `models`: two or more models that read the same tokens, such as trainings that differ in their seed. The result
      is about the neurons of the first model.
    - `corpus`: a `Corpus`, or tokens `(row, pos)`. Leave out BOS, whose activations are outliers:
      `ji.corpus.as_corpus(tokens, positions=slice(1, None))`.
    - `site`: the units that are compared; the neurons of all layers by default.
    - `threshold`: the excess above which a neuron is universal; 0.5 by default.
    - `baseline`, `key`, `batch_size`, `max_bytes`, `mesh`: as in `correlations`; `key` is `jax.random.key(0)` by
      default.
    - `checkpoint`: a file, or `ji.corpus.Checkpoint(path, every=)`; an interrupted call continues from it. Each
      other model has a file of its own, `path.1`, `path.2`, ..., and the properties have `path.properties`. So a
      later call with one more model at the end reads that model alone.

    **Returns:** `Universal`, with `.share`, `.layers()`, `.contrast()` and the properties of each neuron.

    **Raises:** ValueError for fewer than two models, models of different vocabularies, an empty corpus, and the
    checkpoint of other models, texts or settings.

    ```python
    found = ji.neurons.universal([model, *seeds], tokens, threshold=0.3)
    found.share, found.layers(), found.contrast()
    ```

    Laws: a model and a copy with permuted neurons match one to one with correlation 1; for models
    that share nothing the excess is near 0; a call that was interrupted gives the same bits as one that was not.
    """
    models = [] if hasattr(models, "config") else list(models)  # a model alone has no other
    if len(models) < 2:
        raise ValueError(
            f"Neurons are universal among several models; got {max(1, len(models))}. Give the model and other trainings "
            "of it: ji.neurons.universal([model, *seeds], corpus)."
        )
    check_choice(baseline, "baseline", BASELINES)
    threshold = as_number(threshold, "threshold, of the excess,", -np.inf, np.inf)
    key = jax.random.key(0) if key is None else key
    found = [
        correlations(
            UnitStream(models[0], site),
            UnitStream(other, site),
            corpus,
            baseline=baseline,
            key=key,
            batch_size=batch_size,
            max_bytes=max_bytes,
            mesh=mesh,
            checkpoint=beside(checkpoint, str(number)),
        )
        for number, other in enumerate(models[1:], 1)
    ]
    best = np.stack([each.values[:, 0] for each in found])
    chance = np.stack([each.values[:, 0] - each.excess for each in found])
    partners = np.stack([each.others[each.partners[:, 0]] for each in found])
    properties = None
    if parse(site)[0] == "mlp_post" and parse(site)[1] is None:
        properties = neuron_properties(models[0], corpus, checkpoint=beside(checkpoint, "properties"))
    return Universal(
        (best - chance).mean(0),
        best,
        chance,
        partners,
        found[0].units,
        found[0].tokens,
        threshold,
        properties,
    )
