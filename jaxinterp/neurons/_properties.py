"""Neurons by numbers: how their activations are distributed, and what their weights are like."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..core._intervene import split_edits
from ..corpus._batches import Batch
from ..corpus._checkpoint import Checkpoint
from ..corpus._corpus import as_corpus
from ..stats._results import Record, Result
from ..typing import CorpusLike, ModelLike, PathLike
from ._address import as_neurons, name
from ._contexts import contexts_of
from ._logit_moments import logit_moments
from ._moments import Moments, of_batch
from ._reading import fold_neurons
from ._weights import weight_statistics


@dataclass(frozen=True, eq=False)
class NeuronProperties(Result):
    """Numbers `(neuron,)` of all neurons, layer after layer; made by `neuron_properties`.

    ```python
    found = ji.neurons.neuron_properties(model, tokens)
    found.records()[0]
    ```
    """

    neurons: np.ndarray
    "Layer and unit, `(neuron, 2)`."
    activation_mean: np.ndarray
    "Over the tokens that count."
    activation_variance: np.ndarray
    activation_skew: np.ndarray
    "0 where nothing varies."
    activation_kurtosis: np.ndarray
    "3 for a Gaussian; 0 where nothing varies."
    frequency: np.ndarray
    "The share of tokens with an activation above 0, which the paper's tables call sparsity."
    in_norm: np.ndarray
    "The norm of the input weights, with the scale of LayerNorm or RMSNorm folded in."
    in_bias: np.ndarray
    "NaN in a family without biases."
    out_norm: np.ndarray
    cosine: np.ndarray
    "The cosine of input and output weights."
    l2_penalty: np.ndarray
    "What weight decay sees: the squares of both norms together."
    logit_variance: np.ndarray
    "The variance of the cosines of the output weights with the vocabulary."
    logit_skew: np.ndarray
    logit_kurtosis: np.ndarray

    def records(self) -> list[Record]:
        """A row for each neuron."""
        numbers = numbers_of(self)
        return [
            {"neuron": name(each)} | {key: float(value[i]) for key, value in numbers.items()}
            for i, each in enumerate(self.neurons)
        ]


def numbers_of(properties: NeuronProperties) -> dict[str, np.ndarray]:
    """Each number by its name, without the addresses."""
    return {key: value for key, value in properties.items() if key != "neurons"}


def neuron_properties(
    model: ModelLike,
    corpus: CorpusLike,
    *,
    batch_size: int | str | None = "auto",
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> NeuronProperties:
    r"""$\mathbb E\,a,\ \mathrm{Var}\,a,\ \mathrm{skew},\ \mathrm{kurt},\ P(a > 0)$ of each neuron, and its weights.

    The table of Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181). Weights are those of
    `ji.weights.process`; moments are the population's.

    **Arguments:**

    - `model`: of `ji.models`, with MLPs, without edits.
    - `corpus`: a `Corpus`, or tokens `(row, pos)`; all tokens that it counts.
    - `batch_size`: rows in one pass; "auto" by default.
    - `checkpoint`: a file, or `ji.corpus.Checkpoint(path, every=)`; an interrupted call continues from it.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `NeuronProperties`.

    **Raises:** ValueError for a model without MLPs, an intervened one, numbers that are not finite, and the checkpoint
    of another model or corpus.

    ```python
    found = ji.neurons.neuron_properties(model, tokens)
    found.activation_kurtosis, found.l2_penalty
    ```

    Law: moments are those of all activations; a padded batch gives the same as its rows without padding; an interrupted
    call gives the same bits as one that was not.
    """
    weights, logits = weight_statistics(model), logit_moments(model)
    corpus = as_corpus(corpus)
    counted = np.asarray(corpus.positions).any(-1)
    none = np.zeros(int(counted.sum()), np.int32)
    contexts = contexts_of(corpus, counted, none, none, ("all",))
    neurons = as_neurons(split_edits(model)[0], None)
    init = *vars(Moments.nothing(1, len(neurons))).values(), np.zeros(len(neurons))
    how: dict[str, Any] = {"batch_size": batch_size, "progress": "properties" if progress else False}
    *sums, above = fold_neurons(
        model, contexts, neurons, "mlp_post", init, _add, checkpoint=checkpoint, **how
    )
    moments = Moments(*sums)
    mean, std, skew, kurtosis = (x[0] for x in moments.standardised())
    flat = lambda x: np.asarray(x, np.float64).reshape(-1)
    return NeuronProperties(
        neurons,
        mean,
        std**2,
        np.nan_to_num(skew),
        np.nan_to_num(kurtosis),
        above / moments.count[0],
        flat(weights.in_norm),
        flat(weights.bias),
        flat(weights.out_norm),
        flat(weights.cosine),
        flat(weights.in_norm) ** 2 + flat(weights.out_norm) ** 2,
        flat(logits.variance),
        flat(logits.skew),
        flat(logits.kurtosis),
    )


def _add(state: Any, batch: Batch, x: jax.Array) -> Any:
    *sums, above = state
    moments = Moments(*sums).merged(of_batch(x, batch, 1))
    return *vars(moments).values(), above + np.asarray(_above(x, batch.positions), np.float64)


@eqx.filter_jit
def _above(x: jax.Array, counted: jax.Array) -> jax.Array:
    return ((x > 0) & counted[None]).sum((1, 2))
