r"""Direct logit attribution: each component's own share of a logit, or of a difference of logits."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import viz
from .._deprecations import respelled
from .._waiting import waiting
from ..core._check import as_tokens, concrete
from ..core._intervene import split_edits
from ..stats._results import Record
from ..typing import ArrayLike, EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ..weights import Components
from ..weights._decompose import _by_head, _by_layer, _by_neuron
from ..weights._leaves import check_layout, wide
from ..weights._stream import Reader, capture_stream
from ._logit import unembedding
from ._read import as_positions, token_shape

PARTS = {
    "layer": (("attn_out", "mlp_out"), _by_layer),
    "head": (("z", "mlp_out"), _by_head),
    "neuron": (("attn_out", "mlp_post"), _by_neuron),
}


class Attribution(Components):
    """Shares of one number per example: `values` `(component, *batch)` and `labels`; made by `direct_attribution`.

    `total()` is the number. `attn`, `mlp`, `heads` and `neurons` are the components of one sort as an
    array with a leading layer axis, where the attribution has that sort.

    ```python
    ji.lens.direct_attribution(model, tokens, mary).attn        # (layer,)
    ```

    Law: the values sum to the number.
    """

    @property
    def attn(self) -> Float[Array, "layer *rest"]:
        """The share of attention at each layer. In an attribution by head it is the sum of the heads."""
        if "attn_out[0]" not in self.labels:
            return self.heads.sum(1)
        return self._stack(r"attn_out\[(\d+)\]")

    @property
    def mlp(self) -> Float[Array, "layer *rest"]:
        """The share of the MLP at each layer. In an attribution by neuron it is without the output bias."""
        if "mlp_out[0]" not in self.labels and "L0N0" in self.labels:
            return self.neurons.sum(1)
        return self._stack(r"mlp_out\[(\d+)\]")

    @property
    def heads(self) -> Float[Array, "layer head *rest"]:
        """The share of each head, `(layer, head, *batch)`."""
        return self._stack(r"L(\d+)H(\d+)")

    @property
    def neurons(self) -> Float[Array, "layer neuron *rest"]:
        """The share of each neuron, `(layer, neuron, *batch)`."""
        return self._stack(r"L(\d+)N(\d+)")

    def _stack(self, pattern: str) -> Array:
        matches = [re.fullmatch(pattern, label) for label in self.labels]
        where = np.asarray([i for i, match in enumerate(matches) if match], np.int32)
        if not len(where):
            first = ", ".join(self.labels[:4])
            raise ValueError(
                f"This attribution has no such components; it has {first}, ... Choose them with "
                "by='layer', 'head' or 'neuron'."
            )
        sizes = [int(group) + 1 for match in matches if match for group in match.groups()[:1]]
        values = self.values[where]
        rest = values.shape[1:]
        shape = (len(where),) if "H" not in pattern and "N" not in pattern else (max(sizes), -1)
        return values.reshape(*shape, *rest)

    def top(self, count: int = 10) -> list[tuple[str, float]]:
        """The components of one number with the largest size, with their labels.

        **Arguments:**

        - `count`: how many; 10 by default.

        **Raises:** ValueError for an attribution of several numbers.
        """
        if self.values.ndim != 1:
            raise ValueError(
                "top lists the components of one number; this attribution has the axes (component, "
                f"{', '.join(map(str, self.values.shape[1:]))}). Choose one: "
                "jax.tree.map(lambda v: v[:, 0], attribution)."
            )
        values = np.asarray(self.values)
        return [(self.labels[i], float(values[i])) for i in np.argsort(-abs(values))[:count]]

    def records(self) -> list[Record]:
        """A row for each component: its label, and its share `value` (a list where there are several)."""
        pairs = zip(self.labels, np.asarray(self.values).tolist(), strict=True)
        return [{"component": label, "value": value} for label, value in pairs]

    def figure(self, *, title: str = "What adds to the number") -> viz.Figure:
        """A heat map: of heads by layer where there are heads, else of components; several numbers by column."""
        values = np.asarray(self.values, np.float64)
        if values.ndim == 1 and any(re.fullmatch(r"L\d+H\d+", label) for label in self.labels):
            return viz.heatmap(self.heads, axis_names=("layer", "head"), value="share", title=title)
        flat = values.reshape(len(values), -1)
        return viz.heatmap(
            flat, rows=self.labels, axis_names=("component", "number"), value="share", title=title
        )


@respelled(direction="target=")
@waiting("ji.lens.direct_attribution: compiling and running")
def direct_attribution(
    model: ModelLike,
    tokens: TokensLike,
    target: ArrayLike | tuple[ArrayLike, ArrayLike],
    *,
    by: str = "layer",
    pos: IndexLike = -1,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Attribution:
    r"""$\mathrm{norm}(x_L) \cdot v = \sum_i \dfrac{c_i - \bar c_i}{s} \odot g \cdot v$: the share of each component in a logit.

    $c_i$ is the output of component i, and $\bar c_i$ its mean over d (0 for an RMSNorm). $g$ is the gain of the
    last norm, and $v$ the direction of the target. The scale $s$ is that of the whole stream. Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `model`: any model with its weights.
    - `tokens`: token ids `(*batch, pos)` or embeddings `(*batch, pos, d)`.
    - `target`: the number to decompose. A token id stands for its logit, a tuple of two token ids for
      the difference of their logits; an id may be an array `(*batch,)`, one per example. A vector
      `(d,)`, or one per example `(*batch, d)`, stands for the projection of the stream after the last
      norm.
    - `by`: `"layer"` (the default: embeddings, attention and MLP of each layer), `"head"` (heads, and
      MLPs) or `"neuron"` (attention of each layer, and neurons).
    - `pos`: positions as in `ji.at`; -1 (the last) by default. An int drops the axis, several ints give
      an axis of that length. With a mask they count the real tokens of each prompt.
    - `mask`: True at real tokens, as in `ji.run`; None by default.
    - `edits`: as in `ji.run`; none by default.

    **Returns:** an `Attribution` with values `(component, *batch)`. Biases are components of their
    own: `"ln_final.bias"`, `"attn.b_o"`, `"mlp.b_out"`, `"b_unembed"`. `"edits"` is the vector that edits add
    to the stream directly.

    **Raises:** ValueError for another `by` or shape of target; IndexError for a token outside of the vocabulary.

    ```python
    parts = ji.lens.direct_attribution(model, tokens, (mary, john), by="head")
    parts.heads, parts.total()                          # (layer, head), and the difference of the two logits
    ```

    Law: the components sum to the logit, or the difference.
    """
    if not isinstance(by, str) or by not in PARTS:
        raise ValueError(f"by is one of {', '.join(PARTS)}; got {by!r}.")
    inner = split_edits(model)[0]
    check_layout(inner, "direct_attribution")
    ids = as_tokens(tokens)
    as_positions(ids, pos, mask)
    batch = token_shape(ids)[:-1]
    vector, offset = _target_vector(inner, target, batch)
    if by == "neuron" and inner.blocks.mlp is None:
        raise ValueError("by='neuron' needs a model with MLPs; this one is attention only. Write by='head'.")
    sites, split = PARTS[by]
    stream = capture_stream(model, ids, sites, layer=-1, site="resid_post", pos=pos, mask=mask, edits=edits)
    if vector.ndim == 1:
        parts = split(inner, stream, Reader.of(inner, vector, True))
        values = parts.values
    else:
        values, parts = _per_example(inner, stream, vector, split, batch)
    labels = parts.labels
    if offset is not None:
        extra = offset.reshape(offset.shape + (1,) * (values.ndim - 1 - offset.ndim))
        extra = jnp.broadcast_to(extra, values.shape[1:]).astype(values.dtype)
        values, labels = jnp.concatenate([values, extra[None]]), (*labels, "b_unembed")
    return Attribution(values, labels)


def _per_example(
    model: Any, stream: Any, vector: Array, split: Any, batch: tuple[int, ...]
) -> tuple[Array, Any]:
    """Every example read along its own direction."""
    count = int(np.prod(batch))

    def flat(name: str, x: Array) -> Array:
        lead = int(name in ("attn_out", "mlp_out", "z", "mlp_post"))
        rest = x.shape[lead + len(batch) :]
        return jnp.moveaxis(x.reshape(*x.shape[:lead], count, *rest), lead, 0)

    acts = {name: flat(name, x) for name, x in stream.acts.items()}
    vector = jnp.broadcast_to(vector, (*batch, vector.shape[-1])).reshape(count, -1)
    parts = _mapped(model, eqx.tree_at(lambda s: s.acts, stream, acts), vector, split)
    values = jnp.moveaxis(parts.values, 0, 1)
    return values.reshape(values.shape[0], *batch, *values.shape[2:]), parts


@eqx.filter_jit
def _mapped(model: Any, stream: Any, vector: Array, split: Any) -> Any:
    def one(stream: Any, vector: Array) -> Any:
        return split(model, stream, Reader.of(model, vector, True))

    return jax.vmap(one)(stream, vector)


def _target_vector(
    model: Any, target: Any, batch: tuple[int, ...]
) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch"] | None]:
    """The vector that reads the target after the last norm, and what the unembedding's bias adds."""
    if isinstance(target, tuple):
        if len(target) != 2:
            raise ValueError(f"A difference is of two tokens, target=(more, less); got {len(target)}.")
        (one, first), (two, second) = (_target_vector(model, token, batch) for token in target)
        shape = jnp.broadcast_shapes(one.shape, two.shape)
        vector = jnp.broadcast_to(one, shape) - jnp.broadcast_to(two, shape)
        if first is None or second is None:
            return vector, None
        shape = jnp.broadcast_shapes(first.shape, second.shape)
        return vector, jnp.broadcast_to(first, shape) - jnp.broadcast_to(second, shape)
    array = target if isinstance(target, jax.Array) else np.asarray(target)
    d, vocab = unembedding(model).shape
    if jnp.issubdtype(array.dtype, jnp.floating):
        if array.shape != (d,) and array.shape != (*batch, d):
            per = f" or {(*batch, d)}, one per example" if batch else ""
            raise ValueError(f"A target that is a vector has the shape {(d,)}{per}; got {array.shape}.")
        return wide(jnp.asarray(array)), None
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.shape not in ((), batch):
        raise ValueError(
            "target is a token id, a tuple of two, ids per example "
            f"{batch}, or a vector ({d},) of floats; got {array.dtype}{list(array.shape)}. "
            "For the difference of two logits write a tuple: (mary, john)."
        )
    if concrete(array) and array.size:
        for token in (int(np.min(np.asarray(array))), int(np.max(np.asarray(array)))):
            if not 0 <= token < vocab:
                raise IndexError(f"Token ids lie in 0..{vocab - 1}; the target has {token}.")
    index = jnp.asarray(array, jnp.int32)
    vector = wide(jnp.moveaxis(jnp.take(unembedding(model), index, axis=1), 0, -1))
    bias = model.b_unembed
    return vector, None if bias is None else wide(jnp.take(bias, index))
