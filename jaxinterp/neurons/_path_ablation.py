"""A head without what one neuron writes to its queries: does the neuron switch the head?"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import viz
from .._arguments import as_list
from .._text import shown
from ..core._acts import Acts
from ..core._blocks import layer_count
from ..core._check import as_int, check_index
from ..core._edits import add
from ..core._intervene import split_edits
from ..core._run import run
from ..corpus._batches import Batch
from ..corpus._corpus import as_corpus, counting
from ..corpus._fold import fold
from ..corpus._positions import after_first
from ..stats._results import Record, Result
from ..typing import CorpusLike, IntLike, ModelLike, NeuronsLike
from ._address import as_neurons, name
from ._correlations import correlations


@dataclass(frozen=True, eq=False)
class PathAblation(Result):
    """The attention of a head with and without one neuron in its queries, token by token; made by `path_ablation`.

    ```python
    found = ji.neurons.path_ablation(model, tokens, (1, 20), (3, 2))
    found.change, found.records()
    ```
    """

    neuron: tuple[int, int]
    head: tuple[int, int]
    activation: np.ndarray
    "The neuron's activation at each token, `(token,)`."
    bos: np.ndarray
    "The head's attention to the first token, `(2, token)`: as it is, and without the neuron."
    norm: np.ndarray
    "The norm of what the head writes, `(2, token)`."

    @property
    def change(self) -> np.ndarray:
        """How much attention to the first token the neuron adds, `(token,)`."""
        return self.bos[0] - self.bos[1]

    def records(self) -> list[Record]:
        """One row: means, and the correlations of the activation with the change that it makes."""
        both = lambda measure: float(
            correlations(self.activation[:, None], self.change[:, None], measure=measure).matrix[0, 0]
        )
        return [
            {
                "neuron": name(self.neuron),
                "head": name(self.head),
                "tokens": len(self.activation),
                "bos": float(self.bos[0].mean()),
                "bos_without": float(self.bos[1].mean()),
                "norm": float(self.norm[0].mean()),
                "norm_without": float(self.norm[1].mean()),
                "pearson": both("pearson"),
                "spearman": both("spearman"),
            }
        ]

    def figure(self, *, title: str = "") -> viz.Figure:
        """How the head's attention to the first token changes without the neuron, by its activation."""
        points = {"token": (self.activation, self.bos[1] - self.bos[0])}
        name_of = title or f"Head {name(self.head)} without neuron {name(self.neuron)}"
        return viz.scatter(points, x_axis="activation", y_axis="change of attention", title=name_of)


def path_ablation(
    model: ModelLike,
    corpus: CorpusLike,
    neuron: NeuronsLike,
    head: tuple[int, int],
    *,
    skip: IntLike | None = None,
    batch_size: int | str = "auto",
    progress: bool = True,
) -> PathAblation:
    r"""$A_{t,\mathrm{BOS}}(q(x)) - A_{t,\mathrm{BOS}}(q(x - a_n w^{out}_n))$: attention to BOS without one neuron in the queries.

    Keys, values and everything else stay as they are. This measures what `head_deactivation` estimates from weights:
    Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181), section 5.3.

    **Arguments:**

    - `model`: of `ji.models`.
    - `corpus`: a `Corpus`, or tokens `(row, pos)`, whose rows begin with BOS.
    - `neuron`: a pair `(layer, unit)`, or its name; `head`: a pair `(layer, head)` of a later layer.
    - `skip`: how many tokens of a row do not count; by default a quarter of the longest.
    - `batch_size`, `progress`: as in `ji.corpus.fold`.

    **Returns:** `PathAblation`, with `.change` and one record of means and correlations.

    **Raises:** ValueError where the head does not read the neuron, and where no token is left.

    ```python
    found = ji.neurons.path_ablation(model, tokens, (1, 20), (3, 2))
    found.records()
    ```

    Law: a neuron that never fires changes nothing.
    """
    call = "ji.neurons.path_ablation(model, corpus, neuron, head=(3, 2))"
    chosen, pair = as_neurons(model, neuron), as_list(head, "head", call)
    if len(chosen) != 1 or len(pair) != 2:
        raise ValueError(
            f"path_ablation reads one neuron and one head, both pairs: {call}; got {len(chosen)} neurons and "
            f"head={shown(head)}."
        )
    layer, unit = (int(i) for i in chosen[0])
    base = split_edits(model)[0]
    later, own = (as_int(i, "head, a pair (layer, head),") for i in pair)
    check_index("layer", later, layer_count(base), call)
    check_index("head", own, base.config.heads, call)
    later, own = later % layer_count(base), own % int(base.config.heads)
    if later <= layer:
        raise ValueError(
            f"Head {later}.{own} does not read neuron {layer}.{unit}: its layer is not a later one. "
            "Give a head of a later layer."
        )
    corpus = as_corpus(corpus)
    width = int(corpus.mask.sum(-1).max())
    skip = width // 4 if skip is None else as_int(skip, "skip", 1)
    kept = np.asarray(corpus.positions) & after_first(np.asarray(corpus.mask), skip)
    if not kept.any():
        raise ValueError(f"No token is left behind the first {skip} of each row; give a smaller skip=.")
    sites = [f"mlp_post[{layer}]", f"pattern[{later}]", f"head_out[{later}]"]
    without = Without(base.blocks.mlp.w_out[layer, unit], model, layer, unit, later, own)
    parts = fold(
        counting(corpus, kept),
        model,
        sites,
        [],
        _gather,
        per_batch=without,
        batch_size=batch_size,
        progress="path ablation" if progress else False,
    )
    whole = [np.concatenate(each, -1) for each in zip(*parts, strict=True)]
    return PathAblation((layer, unit), (later, own), *whole)


class Without(eqx.Module):
    """One batch: the neuron, and the head with it and without it."""

    written: Any
    model: Any
    layer: int = eqx.field(static=True)
    unit: int = eqx.field(static=True)
    later: int = eqx.field(static=True)
    head: int = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Acts) -> Any:
        a = acts[f"mlp_post[{self.layer}]"][..., self.unit]
        edit = add(
            "q_in", -a[..., None, None] * self.written[None, None, None], layer=self.later, head=self.head
        )
        sites = [f"pattern[{self.later}]", f"head_out[{self.later}]"]
        _, cut = run(self.model, batch.tokens, edits=[edit], capture=sites, mask=batch.padding, logits=False)
        both = [self._of(each, batch) for each in (acts, cut)]
        attention, norm = (jnp.stack(each) for each in zip(*both, strict=True))
        return a.astype(jnp.float32), attention, norm, batch.positions

    def _of(self, acts: Acts, batch: Batch) -> Any:
        """Attention to the first real token, and the norm of the output, `(row, pos)`."""
        first = jnp.argmax(batch.mask, -1)
        pattern = acts[f"pattern[{self.later}]"][:, self.head].astype(jnp.float32)
        attention = jnp.take_along_axis(pattern, first[:, None, None], -1)[..., 0]
        out = acts[f"head_out[{self.later}]"][:, :, self.head].astype(jnp.float32)
        return attention, jnp.sqrt(jnp.square(out).sum(-1))


def _gather(parts: Any, batch: Batch, values: Any) -> Any:
    a, attention, norm, counted = (np.asarray(x) for x in values)
    parts.append((a[counted], attention[:, counted], norm[:, counted]))
    return parts
