"""Token-frequency neurons: neurons that move predictions towards the frequencies of tokens, or away from them."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import viz
from .._settings import takes_settings
from ..core._blocks import layer_count
from ..core._check import as_array, as_int
from ..corpus._checkpoint import Checkpoint
from ..stats._results import Record, Result
from ..typing import ArrayLike, CorpusLike, IndexLike, IntLike, KeyLike, ModelLike, PathLike
from ._address import name
from ._clamp_sums import ClampSettings, clamp_sums, intervals, means_of, predicting
from ._clamped import Frequencies
from ._entropy_neurons import as_units, mediated
from ._null_space import vocabulary_moments
from ._unembedding import as_layer, check_readout, effective_blocks, written


@dataclass(frozen=True, eq=False)
class FrequencyDirection(Result):
    """The direction of log frequencies in the space of logits; made by `ji.neurons.frequency_direction`.

    - `direction (vocab,)`: centred log frequencies, of norm 1.
    - `log_unigram (vocab,)`: log probabilities of `counts + 1`.
    - `cosine (layer, ff)`: the cosine between the direction and the logits that each neuron writes.

    ```python
    counts = np.bincount(corpus.tokens[corpus.mask], minlength=model.config.vocab)
    found = ji.neurons.frequency_direction(model, counts)
    found.cosine.shape, found.top(5)
    ```
    """

    direction: np.ndarray
    log_unigram: np.ndarray
    cosine: np.ndarray

    def top(self, top: IntLike = 10) -> np.ndarray:
        """Neurons `(top, 2)` of any layer, those with the largest absolute cosine first."""
        order = np.argsort(-np.abs(self.cosine).ravel(), kind="stable")[: as_int(top, "top", 1)]
        return np.stack(np.unravel_index(order, self.cosine.shape), 1)

    def records(self) -> list[Record]:
        """A row for each neuron, those with the largest absolute cosine first."""
        order = self.top(self.cosine.size)
        return [{"neuron": name(each), "cosine": float(self.cosine[tuple(each)])} for each in order]

    def figure(self) -> viz.Figure:
        """How the cosine is distributed over neurons, a curve for each layer."""
        edges = np.linspace(-1, 1, 41)
        return viz.histogram(
            {f"layer {i}": np.histogram(row.clip(-1, 1), edges)[0] for i, row in enumerate(self.cosine)},
            edges,
            title="Neurons along the direction of token frequencies",
            x_axis="cosine",
            y_axis="share of neurons",
        )


def frequency_direction(model: ModelLike, counts: ArrayLike) -> FrequencyDirection:
    r"""$u = \frac{\log p - \overline{\log p}}{\lVert \log p - \overline{\log p} \rVert},\ p \propto c + 1$: the direction of token frequencies.

    $u$ is a direction in the space of logits. A neuron writes the logits $W^\top w$ with the effective unembedding of
    `null_space`, whose mean over the vocabulary is removed. Stolfo et al. 2024 (https://arxiv.org/abs/2406.16254).

    **Arguments:**

    - `model`: as in `entropy_neurons`.
    - `counts (vocab,)`: how often each token occurs in text like the training text of the model, such as
      `np.bincount(corpus.tokens[corpus.mask], minlength=model.config.vocab)`. One is added to each.

    **Returns:** `FrequencyDirection`. A neuron that writes nothing to the logits has the cosine 0.

    **Raises:** ValueError for counts of another length, negative ones and equal ones; as `entropy_neurons`.

    ```python
    counts = np.bincount(corpus.tokens[corpus.mask], minlength=model.config.vocab)
    found = ji.neurons.frequency_direction(model, counts)
    found.top(5)
    ```

    Law: the frequency neurons of `ji.toy.planted_unembed` have the cosines 1 and -1.
    """
    inner = check_readout(model, "frequency_direction")
    vocab = int(inner.config.vocab)
    numbers = np.asarray(as_array(counts, "counts"))
    if numbers.shape != (vocab,):
        raise ValueError(
            f"counts has one number for each of the {vocab} tokens of this model; got the shape {numbers.shape}. "
            f"Of ids: np.bincount(ids, minlength={vocab})."
        )
    if not np.issubdtype(numbers.dtype, np.number) or not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError("counts are finite numbers of 0 or more, one for each token.")
    logs = np.log(numbers.astype(np.float64) + 1)
    gap = logs - logs.mean()
    if not np.linalg.norm(gap) > 0:
        raise ValueError(
            "All counts are equal, so frequencies have no direction: count the tokens of a text."
        )
    direction = gap / np.linalg.norm(gap)
    along, start = np.zeros(int(inner.config.d)), 0
    for block in effective_blocks(inner):
        along += block @ direction[start : start + block.shape[1]]
        start += block.shape[1]
    out = written(inner)
    norm = vocabulary_moments(inner).logit_norm(out)
    least = 1e-6 * max(float(norm.max()), np.finfo(float).tiny)
    cosine = np.where(norm > least, out @ along / np.where(norm > least, norm, 1), 0.0)
    return FrequencyDirection(direction, logs - np.log(np.exp(logs).sum()), cosine)


@dataclass(frozen=True, eq=False)
class FrequencyNeurons(Result):
    """Effects of neurons along the direction of log frequencies; made by `ji.neurons.frequency_neurons`.

    Each `(n,)` and a mean over tokens: `cosine` with the direction; `total`, the absolute change of the loss by mean
    ablation; `direct`, the same when the part of the logits along the direction is restored; `mediated`,
    1 - direct / total; `entropy`, the change of the entropy; `to_unigram` and `from_unigram`, the changes of
    KL(model || unigram) and KL(unigram || model).

    - `low`, `high`: ends of intervals over documents, by the names of columns.
    - `layer`, `neurons (n,)`; `base`: entropy and both divergences of the model as it is; `tokens`, `documents`.

    ```python
    counts = np.bincount(corpus.tokens[corpus.mask], minlength=model.config.vocab)
    found = ji.neurons.frequency_neurons(model, corpus, counts, neurons=[17, 318])
    found.cosine, found.mediated, found.to_unigram
    found.figure()
    ```
    """

    layer: int
    neurons: np.ndarray
    cosine: np.ndarray
    mean: np.ndarray
    total: np.ndarray
    direct: np.ndarray
    mediated: np.ndarray
    entropy: np.ndarray
    to_unigram: np.ndarray
    from_unigram: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    base: dict[str, float]
    tokens: int
    documents: int

    def records(self) -> list[Record]:
        """A row for each neuron, those with the largest absolute cosine first. Divergences are before and after."""
        found = []
        for i in np.argsort(-np.abs(self.cosine), kind="stable"):
            row: Record = {"neuron": name((self.layer, self.neurons[i])), "cosine": float(self.cosine[i])}
            row |= {part: float(getattr(self, part)[i]) for part in ("mean", "total", "direct", "mediated")}
            for part in ("entropy", "to_unigram", "from_unigram"):
                before = self.base[part]
                row |= {f"{part}_before": before, f"{part}_after": before + float(getattr(self, part)[i])}
            for part in self.low:
                row |= {f"{part}_low": float(self.low[part][i]), f"{part}_high": float(self.high[part][i])}
            found.append(row)
        return found

    def figure(self) -> viz.Figure:
        """The change of entropy beside that of KL(model || unigram), a point for each neuron."""
        return viz.scatter(
            {"neurons": (self.to_unigram, self.entropy)},
            title=f"Mean ablation of neurons of layer {self.layer}",
            x_axis="change of KL(model || unigram), nats",
            y_axis="change of entropy, nats",
        )


@takes_settings
def frequency_neurons(
    model: ModelLike,
    corpus: CorpusLike,
    frequencies: FrequencyDirection | ArrayLike,
    layer: IntLike = -1,
    *,
    neurons: IndexLike | None = None,
    settings: ClampSettings = ClampSettings(),
    key: KeyLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> FrequencyNeurons:
    r"""$z'' = z' + (z \cdot u - z' \cdot u)\,u,\quad 1 - \overline{|\ell'' - \ell|} / \overline{|\ell' - \ell|}$: neurons that act through token frequencies.

    Each neuron is set to its mean, which changes the logits $z$ to $z'$. Then the part of the logits along the direction
    $u$ is restored. For a token-frequency neuron little of the effect remains. Stolfo et al. 2024
    (https://arxiv.org/abs/2406.16254).

    **Arguments:**

    - `frequencies`: the result of `frequency_direction`, or counts `(vocab,)`.
    - `model`, `corpus`, `layer`, `neurons`, `settings`, `key`, `checkpoint`, `progress`: as in `entropy_neurons`.

    **Returns:** `FrequencyNeurons`.

    **Raises:** as `entropy_neurons` and `frequency_direction`.

    ```python
    counts = np.bincount(corpus.tokens[corpus.mask], minlength=model.config.vocab)
    found = ji.neurons.frequency_neurons(model, corpus, counts)
    found.records()[0]
    ```

    Law: `total` is that of `entropy_neurons`; of the planted frequency neurons nearly all is mediated.
    """
    inner = check_readout(model, "frequency_neurons")
    if not isinstance(frequencies, FrequencyDirection):
        frequencies = frequency_direction(inner, frequencies)
    number = as_layer(inner, layer, "frequency_neurons")
    units = as_units(neurons, int(inner.blocks.mlp.w_out.shape[1]))
    if frequencies.cosine.shape != (layer_count(inner), int(inner.blocks.mlp.w_out.shape[1])):
        raise ValueError(
            "This FrequencyDirection is of another model. Make it of this one: "
            "ji.neurons.frequency_direction(model, counts)."
        )
    contexts = predicting(inner, corpus, int(settings.skip))
    means = means_of(inner, contexts, number, settings, progress)[units]
    arrays = (jnp.asarray(x, jnp.float32) for x in (frequencies.log_unigram, frequencies.direction))
    bar = "frequency neurons" if progress else False
    how: dict[str, Any] = {"settings": settings, "checkpoint": checkpoint, "progress": bar}
    sums = clamp_sums(inner, contexts, number, units, means, frequencies=Frequencies(*arrays), **how)
    plain = ("total", "entropy", "to_unigram", "from_unigram")
    parts = {
        **{part: (np.asarray, sums.changes[part]) for part in plain},
        "direct": (np.asarray, sums.changes["restored"]),
        "mediated": (mediated, sums.changes["restored"], sums.changes["total"]),
    }
    ends = intervals(parts, sums.tokens, settings, key, "ji.neurons.frequency_neurons(..., key={})")
    total, direct = sums.mean("total"), sums.mean("restored")
    return FrequencyNeurons(
        layer=number,
        neurons=units,
        cosine=frequencies.cosine[number, units],
        mean=means,
        direct=direct,
        mediated=mediated(direct, total),
        **{part: sums.mean(part) for part in plain},
        low={part: each[0] for part, each in ends.items()},
        high={part: each[1] for part, each in ends.items()},
        base={part: sums.base_mean(part) for part in plain[1:]},
        tokens=int(sums.tokens.sum()),
        documents=len(np.unique(contexts.document)),
    )
