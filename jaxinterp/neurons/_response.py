"""Response curves: what predictions do while a neuron is set to one value after another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import viz
from .._random import host_generator
from .._settings import takes_settings
from ..core._blocks import layer_count
from ..core._check import as_int, as_numbers, check_choice
from ..corpus._checkpoint import Checkpoint, as_checkpoint
from ..stats._results import Record, Result
from ..typing import ArrayLike, CorpusLike, IntLike, KeyLike, ModelLike, NeuronsLike, PathLike
from ._address import as_neurons, name
from ._clamp_sums import ClampSettings, clamp_sums, predicting
from ._null_space import vocabulary_moments
from ._unembedding import check_readout, written

COLUMNS = ("scale", "entropy", "reciprocal_rank", "loss")


@dataclass(frozen=True, eq=False)
class ResponseCurves(Result):
    """How predictions depend on the value of a neuron; made by `ji.neurons.response_curves`.

    - `neurons (n, 2)`; `values (v,)`; `baseline (n,)`, True for the random neurons.
    - `scale`, `entropy`, `reciprocal_rank`, `loss`, each `(n, v)`: the scale of the last norm, and the entropy, the
      reciprocal rank of the next token and its loss.
    - `base`: the same four of the model as it is; `tokens` that were read.

    ```python
    found = ji.neurons.response_curves(model, corpus, [(3, 17)], key=jax.random.key(0))
    found.values, found.entropy[~found.baseline]         # (v,), (1, v)
    found.base["entropy"]
    ```
    """

    neurons: np.ndarray
    values: np.ndarray
    baseline: np.ndarray
    scale: np.ndarray
    entropy: np.ndarray
    reciprocal_rank: np.ndarray
    loss: np.ndarray
    base: dict[str, float]
    tokens: int

    def records(self) -> list[Record]:
        """A row for each neuron and value."""
        return [
            {
                "neuron": name(self.neurons[i]),
                "baseline": bool(self.baseline[i]),
                "value": float(self.values[v]),
                **{column: float(getattr(self, column)[i, v]) for column in COLUMNS},
            }
            for i, v in np.ndindex(*self.loss.shape)
        ]

    def figure(self, column: str = "entropy") -> viz.Figure:
        """A curve for each neuron over the values, and the mean of the random ones with their range.

        **Arguments:** `column`: `"scale"`, `"entropy"` (by default), `"reciprocal_rank"` or `"loss"`.
        """
        check_choice(column, "column", COLUMNS)
        y = getattr(self, column)
        series = {name(self.neurons[i]): y[i] for i in np.flatnonzero(~self.baseline)}
        bands, random = {}, y[self.baseline]
        if len(random):
            series["random neurons"] = random.mean(0)
            bands["random neurons"] = (random.min(0), random.max(0))
        return viz.lines(
            series,
            x=self.values,
            bands=bands,
            title=f"{column.replace('_', ' ')} while a neuron is set to a value",
            x_axis="activation",
            y_axis=column.replace("_", " "),
        )


def random_neurons(model: ModelLike, count: IntLike = 20, *, key: KeyLike, layers: IntLike = 2) -> np.ndarray:
    r"""$\{i : \lVert w^{in} \rVert^2 + \lVert w^{out} \rVert^2 < q_{0.9},\ \mathrm{LogitVar} > q_{0.1}\}$: neurons to compare with.

    Random neurons of the last layers, whose weights are not large and do not lie in the null space. Gurnee et al.
    2024 (https://arxiv.org/abs/2401.12181).

    **Arguments:**

    - `model`: as in `entropy_neurons`.
    - `count`: how many; 20 by default, or as many as there are.
    - `key`: a `jax.random.key`.
    - `layers`: how many of the last layers; 2 by default. Quantiles are of these layers.

    **Returns:** pairs `(layer, neuron)`, int32 `(count, 2)`, without repetition. The input weights of a gated MLP are
    those of the gate.

    **Raises:** as `entropy_neurons`.

    ```python
    ji.neurons.random_neurons(model, 20, key=jax.random.key(0))
    ```

    Law: each is below the 0.9 quantile of the penalty, and above the 0.1 quantile of LogitVar.
    """
    inner = check_readout(model, "random_neurons")
    rng = host_generator(key, "ji.neurons.random_neurons(model, 20, key={})")
    first = max(0, layer_count(inner) - as_int(layers, "layers", 1))
    mlp = inner.blocks.mlp
    read = np.asarray(mlp.w_in if mlp.w_gate is None else mlp.w_gate)[first:].astype(np.float64)
    out = written(inner)[first:]
    penalty = np.square(read).sum(1) + np.square(out).sum(2)
    variance = vocabulary_moments(inner).logit_var(out)
    allowed = (penalty < np.quantile(penalty, 0.9)) & (variance > np.quantile(variance, 0.1))
    pairs = np.argwhere(allowed) + np.array([[first, 0]])
    chosen = rng.choice(len(pairs), min(as_int(count, "count", 1), len(pairs)), replace=False)
    return pairs[np.sort(chosen)].astype(np.int32)


@takes_settings
def response_curves(
    model: ModelLike,
    corpus: CorpusLike,
    neurons: NeuronsLike,
    values: ArrayLike = (0, 1, 2, 3, 4, 5, 6),
    *,
    baseline: IntLike = 20,
    settings: ClampSettings = ClampSettings(),
    key: KeyLike,
    checkpoint: PathLike | Checkpoint | None = None,
    progress: bool = True,
) -> ResponseCurves:
    r"""$v \mapsto \overline{s},\ \overline{H},\ \overline{1 / \mathrm{rank}},\ \overline{\ell}$ with $a \leftarrow v$: predictions with a neuron set to a value.

    Each neuron is set to each value at every position. The same is done with random neurons (`random_neurons`).
    Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181).

    **Arguments:**

    - `model`, `corpus`, `settings`, `progress`: as in `entropy_neurons`.
    - `neurons`: pairs `(layer, neuron)`, or names such as `"11.584"`.
    - `values (v,)`: activations; 0 to 6 by default.
    - `baseline`: how many random neurons of the last two layers; 20 by default, 0 for none.
    - `key`: draws the random neurons.
    - `checkpoint`: as in `entropy_neurons`; each layer has a file of its own, with its number behind the name.

    **Returns:** `ResponseCurves`; the given neurons come first.

    **Raises:** as `entropy_neurons`.

    ```python
    found = ji.neurons.response_curves(model, corpus, [(3, 17)], key=jax.random.key(0))
    found.figure("entropy").save("response.html")
    ```

    Law: to set a neuron to the value that it has changes nothing; curves are those of runs with `ji.replace`.
    """
    inner = check_readout(model, "response_curves")
    chosen = as_neurons(inner, neurons)
    if not len(chosen):
        raise ValueError("response_curves needs at least one neuron: neurons=[(3, 336)].")
    fixed = np.atleast_1d(np.asarray(as_numbers(values, "values"), np.float64))
    if fixed.ndim != 1 or not fixed.size or not np.isfinite(fixed).all():
        raise ValueError(f"values are finite numbers (v,), at least one; got the shape {fixed.shape}.")
    several = as_int(baseline, "baseline", 0)
    drawn = random_neurons(inner, several, key=key) if several else np.zeros((0, 2), np.int32)
    every = np.concatenate([chosen, drawn])
    contexts = predicting(inner, corpus, int(settings.skip))
    shape = (len(every), len(fixed))
    curves, base = {column: np.zeros(shape) for column in COLUMNS}, {}
    for layer in np.unique(every[:, 0]).tolist():
        here = np.flatnonzero(every[:, 0] == layer)
        sums = clamp_sums(
            inner,
            contexts,
            layer,
            np.repeat(every[here, 1], len(fixed)),
            np.tile(fixed, len(here)),
            settings=settings,
            checkpoint=_own(checkpoint, layer),
            progress=f"response curves of layer {layer}" if progress else False,
        )
        base = {column: sums.base_mean(column) for column in COLUMNS}
        for column in COLUMNS:
            curves[column][here] = base[column] + sums.mean(column).reshape(len(here), -1)
    tokens = int(contexts.corpus.positions.sum())
    random = np.arange(len(every)) >= len(chosen)
    return ResponseCurves(neurons=every, values=fixed, baseline=random, **curves, base=base, tokens=tokens)


def _own(checkpoint: Any, layer: int) -> Any:
    """The checkpoint of one layer."""
    whole = as_checkpoint(checkpoint)
    if whole is None:
        return None
    path = Path(whole.path)
    return Checkpoint(path.with_name(f"{path.stem}.{layer}{path.suffix}"), whole.every)
