"""Neurons that switch attention heads: by what they write towards the key of BOS."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core._blocks import layer_count
from ..core._check import as_int, check_index
from ..core._run import run
from ..nn._rotary import rotate
from ..stats._results import Record, Result
from ..typing import IntLike, ModelLike
from ..weights import process
from ._address import name


@dataclass(frozen=True, eq=False)
class HeadDeactivation(Result):
    """How much each neuron adds to the attention of each later head to BOS; made by `ji.neurons.head_deactivation`.

    ```python
    found = ji.neurons.head_deactivation(model, tokenizer.bos_id)
    found.top(3)
    ```
    """

    scores: np.ndarray
    """`(layer, ff, layer, head)`: neurons on the first two axes, heads on the last two. NaN where the head does not
    read what the neuron writes. Positive: the neuron raises attention to BOS, and so switches the head off."""
    bos: int
    "The token that stands first."
    distance: int
    "How far the query stands from BOS; it matters for rotary positions alone."

    def top(self, k: IntLike = 10) -> list[Record]:
        """The k pairs of the largest score in absolute value, as records."""
        k = as_int(k, "k, the number of pairs,", 1)
        flat, there = self.scores.ravel(), np.isfinite(self.scores).ravel()
        rows: list[Record] = []
        order = np.argsort(-np.where(there, np.abs(flat), -1), kind="stable")
        for i in order[: min(k, int(there.sum()))]:  # other heads do not read the neuron
            layer, unit, later, head = np.unravel_index(i, self.scores.shape)
            rows.append(
                {
                    "neuron": name((layer, unit)),
                    "head": name((later, head)),
                    "score": float(flat[i]),
                    "switches": "off" if flat[i] > 0 else "on",
                }
            )
        return rows

    def records(self) -> list[Record]:
        """The hundred pairs of the largest score in absolute value."""
        return self.top(100)


def head_deactivation(model: ModelLike, bos: IntLike, *, distance: IntLike = 1) -> HeadDeactivation:
    r"""$h_{n,h} = (w^{out}_n W_{Q,h}) \cdot k_{h,\mathrm{BOS}} / \sqrt{d_h}$: how much a neuron adds to the score of BOS in a head.

    A head that attends to BOS writes little, so it is switched off. With a positive score the neuron raises the
    attention to BOS when it fires, and switches the head off; with a negative score it switches the head on. Only heads
    in later layers have a score. Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181), section 5.3. The norm is folded
    into $W_Q$, and its scale is left out, because at one token it divides all scores by the same number.

    **Arguments:**

    - `model`: of `ji.models`, with MLPs, without edits.
    - `bos`: the id of the token that stands first, such as `tokenizer.bos_id`. Its key is that of a run on it alone.
    - `distance`: how many positions the query stands after BOS, for rotary models; 1 by default.

    **Returns:** `HeadDeactivation`. `path_ablation` measures whether a pair matters.

    **Raises:** ValueError for a model without MLPs, an intervened one, and scores that are not finite; IndexError for
    no token of the model.

    ```python
    found = ji.neurons.head_deactivation(model, tokenizer.bos_id)
    found.top(3)
    ```

    Law: the derivative of the score before the softmax by the activation, with the norm's scale fixed,
    is this score over that scale.
    """
    readers = bos_readers(model, bos, distance=distance)
    folded: Any = process(model)
    out = folded.blocks.mlp.w_out
    scores = np.asarray(jnp.einsum("nfd,lhd->nflh", out, readers, precision="highest"), np.float32)
    layers = np.arange(len(scores))
    reads = (layers[:, None] < layers[None])[:, None, :, None]
    if not np.isfinite(np.where(reads, scores, 0)).all():
        raise ValueError(
            "Scores of BOS are NaN or infinite: are the weights of the model finite, and does the dtype reach?"
        )
    return HeadDeactivation(np.where(reads, scores, np.nan), int(bos), int(distance))


def bos_readers(model: ModelLike, bos: IntLike, *, distance: IntLike = 1) -> jax.Array:
    """`(layer, head, d)`: the direction of the stream that each head's score of BOS reads, without the norm's scale."""
    bos, distance = (
        as_int(bos, "bos, the id of the token that stands first,"),
        as_int(distance, "distance", 0),
    )
    mlp = getattr(getattr(model, "blocks", None), "mlp", None)
    if mlp is None:
        raise ValueError(f"This {type(model).__name__} has no MLP (ff=0), so it has no neurons.")
    folded: Any = process(model)  # refuses models with edits
    check_index("token", bos, model.config.vocab, "ji.neurons.head_deactivation(model, tokenizer.bos_id)")
    attn = folded.blocks.attn
    tables = folded.tables(jnp.asarray([distance], jnp.int32))
    site = "k" if tables is None else "k_rot"
    _, acts = run(model, jnp.asarray([bos], jnp.int32), capture=[site], logits=False)
    keys = jnp.repeat(acts[site][:, 0], attn.w_q.shape[1] // attn.w_k.shape[1], 1)
    query = jnp.moveaxis(attn.w_q, 1, 2)[:, :, None]  # (layer d pos head k)
    query = query[:, :, 0] if tables is None else rotate(query, tables)[:, :, 0]
    scale = jnp.full(layer_count(model), attn.scale, jnp.float32)
    if attn.scale_by_layer:
        scale = scale / jnp.arange(1, len(scale) + 1, dtype=jnp.float32)
    read = jnp.einsum(
        "ldhk,lhk->lhd", query.astype(jnp.float32), keys.astype(jnp.float32), precision="highest"
    )
    return read * scale[:, None, None]
