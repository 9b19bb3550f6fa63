"""Neurons on tokens that come again: their activations, what they do there, and which heads switch them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import viz
from ..core._blocks import layer_count
from ..core._check import as_numbers
from ..corpus._batches import CorpusBatches
from ..corpus._corpus import as_corpus
from ..corpus._fold import folded
from ..heads._prompts import draw_blocks
from ..stats._intervals import mean_interval
from ..stats._results import Record, Result
from ..typing import ArrayLike, IntLike, KeyLike, ModelLike, NeuronsLike
from ._address import as_neurons, name
from ._clamp_sums import COPIES
from ._induction_run import FirstRun, SecondRun
from ._losses import check_losses
from ._unembedding import check_readout

LONGEST = 100
"Tokens of a block by default, at most."


@dataclass(frozen=True, eq=False)
class InductionCase(Result):
    """Neurons on random tokens that occur twice, by position; made by `ji.neurons.induction_case`.

    - `neurons (n, 2)`, `values (n,)`: each neuron's mean on the first occurrence, which it is set to on the second.
    - `second (pos,)`: True on the second occurrence.
    - `activation (n, pos)`, `entropy (pos,)`, `loss (pos,)`: means over prompts; the last position has no loss (NaN).
    - `clamped_entropy`, `clamped_loss`, each `(n, pos)`: with one neuron set to its value on the second occurrence.
    - `entropy_change`, `loss_change`, each `(n,)`: the clamped model minus the unchanged model, on the second
      occurrence; `low`, `high`: ends of their intervals over prompts.
    - `heads (h, 2)`, `head_change (h, n)`: how much a neuron's activation on the second occurrence changes when a head
      attends to the first token alone; NaN for a head in a layer behind the neuron.

    ```python
    found = ji.neurons.induction_case(model, [(3, 17)], key=jax.random.key(0), bos=tokenizer.bos_id, heads=[])
    found.loss[found.second][:-1].mean(), found.loss_change     # the last position has no loss
    found.figure()
    ```
    """

    neurons: np.ndarray
    values: np.ndarray
    second: np.ndarray
    activation: np.ndarray
    entropy: np.ndarray
    loss: np.ndarray
    clamped_entropy: np.ndarray
    clamped_loss: np.ndarray
    entropy_change: np.ndarray
    loss_change: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    heads: np.ndarray
    head_change: np.ndarray

    def records(self) -> list[Record]:
        """A row for each neuron: means on both occurrences, what clamping changes, and the strongest head."""
        found = []
        for i, each in enumerate(self.neurons):
            row: Record = {
                "neuron": name(each),
                "first": float(self.values[i]),
                "second": float(self.activation[i, self.second].mean()),
            }
            for part in ("entropy_change", "loss_change"):
                row |= {part: float(getattr(self, part)[i])}
                row |= {f"{part}_low": float(self.low[part][i]), f"{part}_high": float(self.high[part][i])}
            change = np.abs(np.nan_to_num(self.head_change[:, i]))
            if len(change) and change.max() > 0:
                head = int(change.argmax())
                row |= {"head": name(self.heads[head]), "head_change": float(self.head_change[head, i])}
            found.append(row)
        return found

    def figure(self, neuron: int = 0) -> viz.Figure:
        """Entropy by position, as the model is and with a neuron (its number among `neurons`) clamped."""
        called = name(self.neurons[neuron])
        return viz.lines(
            {
                "as the model is": self.entropy,
                f"{called} at its first mean": self.clamped_entropy[neuron],
                f"activation of {called}": self.activation[neuron],
            },
            title=f"Tokens that come again, and neuron {called}",
            x_axis="position",
            y_axis="nats, and activation",
            marks={"second": float(self.second.argmax())},
        )


def induction_case(
    model: ModelLike,
    neurons: NeuronsLike,
    *,
    key: KeyLike,
    block: IntLike | None = None,
    batch_size: IntLike = 16,
    bos: IntLike | None = None,
    ids: ArrayLike | None = None,
    heads: ArrayLike | None = None,
    max_bytes: IntLike | str = "auto",
    progress: bool = True,
) -> InductionCase:
    r"""$a_t \leftarrow \overline{a}_{\text{first}}$ for $t$ in the second block: effects of neurons where a model can copy.

    Prompts are random tokens that occur twice, after one BOS. On the second occurrence the model copies, and its entropy
    falls. A neuron that limits this fall is more active there. When it is set to its mean on the first occurrence,
    the entropy falls further. Heads that activate such a neuron are found by an ablation that moves all attention of a
    head to the first token. Stolfo et al. 2024 (https://arxiv.org/abs/2406.16254).

    **Arguments:**

    - `model`: as in `entropy_neurons`, also without a last norm.
    - `neurons`: pairs `(layer, neuron)`, or names.
    - `key`: a `jax.random.key`, for the prompts.
    - `block`: random tokens of a block. By default 100, or as many as fit.
    - `batch_size`: how many prompts; 16 by default.
    - `bos`, `ids`: as in `ji.heads.repeated_tokens`. Without BOS the first token is the first random one.
    - `heads`: pairs `(layer, head)`; by default all in the layers up to that of the last neuron. `[]` for none.
    - `max_bytes`: the most bytes that the logits of a pass may take; "auto" is 256 MiB.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `InductionCase`.

    **Raises:** as `entropy_neurons` and `ji.heads.repeated_tokens`; IndexError for heads that the model lacks.

    ```python
    found = ji.neurons.induction_case(model, [(3, 17)], key=jax.random.key(0), bos=tokenizer.bos_id, heads=[])
    found.records()[0], found.entropy[found.second].mean()
    ```

    Laws: clamps are runs with `ji.replace("mlp_post", value, pos=second)`, ablated heads runs with
    `ji.replace("pattern", ...)`.
    """
    inner = check_readout(model, "induction_case", scaled=False)
    chosen = as_neurons(inner, neurons)
    if not len(chosen):
        raise ValueError("induction_case needs at least one neuron: neurons=[(3, 336)].")
    layers = tuple(sorted(set(chosen[:, 0].tolist())))
    pairs = _heads(inner, heads, layers[-1])
    how: dict[str, Any] = {"block": block, "repeats": 2, "rows": batch_size, "bos": bos, "ids": ids}
    tokens = np.asarray(draw_blocks(inner.config, key, longest=LONGEST, **how))
    start = int(bos is not None)
    size = (tokens.shape[1] - start) // 2
    place = np.arange(tokens.shape[1])
    first, second = (place >= start) & (place < start + size), place >= start + size
    vocab, widest = int(inner.config.vocab), int(inner.config.d) * layer_count(inner)
    parts = CorpusBatches(
        as_corpus(tokens), inner, "auto", width=COPIES * vocab + widest, max_bytes=max_bytes
    )
    stack = lambda found, axis: np.concatenate(found, axis)[(slice(None),) * axis + (slice(len(tokens)),)]
    sites = [f"mlp_post[{layer}]" for layer in layers]
    collect = lambda state, batch, x: [*state, jax.tree.map(np.asarray, x)]
    bar = lambda text: text if progress else False
    units = jnp.asarray(chosen)
    acts = folded(
        parts, inner, sites, [], collect, per_batch=FirstRun(units, layers), progress=bar("activations")
    )
    acts = stack(acts, 1)
    values = acts[:, :, first].mean((1, 2)).astype(np.float32)
    rest = SecondRun(inner, units, jnp.asarray(values), jnp.asarray(pairs), jnp.asarray(second), layers)
    runs = folded(
        parts, inner, ["resid_pre", *sites], [], collect, per_batch=rest, progress=bar("clamps and heads")
    )
    base, clamped, changes = zip(*runs, strict=True)
    entropy, loss = (stack([each[i] for each in base], 0) for i in range(2))  # (prompt, pos)
    check_losses(loss[:, :-1])
    clamps = [stack([each[i] for each in clamped], 1) for i in range(2)]  # (n, prompt, pos)
    low, high, change = {}, {}, {}
    for part, new, old in zip(("entropy_change", "loss_change"), clamps, (entropy, loss), strict=True):
        gap = (new - old)[:, :, second][:, :, :-1].mean(-1)  # nothing is predicted from the last position
        change[part] = gap.mean(1)
        nothing = np.full(len(chosen), np.nan)
        found = mean_interval(gap) if len(tokens) > 1 else None
        low[part] = nothing if found is None else found.low
        high[part] = nothing if found is None else found.high
    return InductionCase(
        neurons=chosen,
        values=values,
        second=second,
        activation=acts.mean(1),
        entropy=entropy.mean(0),
        loss=loss.mean(0),
        clamped_entropy=clamps[0].mean(1),
        clamped_loss=clamps[1].mean(1),
        **change,
        low=low,
        high=high,
        heads=pairs,
        head_change=stack(changes, 2).mean(-1) if len(pairs) else np.zeros((0, len(chosen))),
    )


def _heads(model: Any, heads: Any, last: int) -> np.ndarray:
    """Pairs `(layer, head)`, int32 `(h, 2)`; None is all up to a layer."""
    count, width = layer_count(model), int(model.config.heads)
    if heads is None:
        return np.argwhere(np.ones((last + 1, width), bool)).astype(np.int32)
    pairs = np.asarray(as_numbers(heads, "heads")) if np.size(heads) else np.zeros((0, 2), np.int32)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(
            f"heads are pairs (layer, head): heads=[(1, 0), (2, 3)]; got the shape {pairs.shape}."
        )
    limits = np.array([[count, width]])
    pairs = np.where(pairs < 0, pairs + limits, pairs)
    if ((pairs < 0) | (pairs >= limits)).any():
        raise IndexError(f"This model has {count} layers of {width} heads; heads has {pairs.tolist()}.")
    return pairs.astype(np.int32)
