"""The last norm and the unembedding: a linear map of the stream, divided by a scale."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._blocks import layer_count
from ..core._check import as_int, check_index, check_predicts_tokens
from ..weights._components import norm_scale
from ..weights._leaves import check_layout, wide

COLUMNS = 8192
"Tokens of the unembedding that the host holds in float64 at a time."


class Readout(eqx.Module):
    r"""$z = \dfrac{(x - \bar x) \odot g}{s(x)} W_U + (c W_U + b_U)$: how a model reads its last stream.

    `numerator` is the product, without the scale $s$; `offset` the part that no stream changes. RMSNorm
    subtracts no mean.
    """

    norm: Any
    w_unembed: Any
    w_embed: Any
    b_unembed: Any

    @staticmethod
    def of(model: Any) -> "Readout":
        """The readout of a checked model."""
        return Readout(model.ln_final, model.w_unembed, model.w_embed, model.b_unembed)

    def centred(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """What the norm sees of vectors of the stream, in float32 at least."""
        x = wide(x)
        return x - x.mean(-1, keepdims=True) if self.norm.centres else x

    def numerator(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch vocab"]:
        """Logits times the scale, without the offset."""
        x = self.centred(x)
        gain = self.norm.weight
        return self._unembedded(x if gain is None else x * jnp.broadcast_to(wide(gain), x.shape))

    def scale(self, x: Float[Array, "*batch d"]) -> Float[Array, "*batch 1"]:
        """The denominator of the last norm."""
        return norm_scale(self.norm, x)

    def offset(self) -> Float[Array, " vocab"]:
        """What is added to the logits of every stream."""
        vocab = self.w_embed.shape[0] if self.w_unembed is None else self.w_unembed.shape[1]
        found = jnp.zeros(vocab, wide(self.w_embed[:0]).dtype)
        if self.norm.bias is not None:
            found = found + self._unembedded(wide(self.norm.bias))
        return found if self.b_unembed is None else found + wide(self.b_unembed)

    def _unembedded(self, x: Array) -> Array:
        if self.w_unembed is None:
            return jnp.einsum("...d,vd->...v", x, wide(self.w_embed), precision="highest")
        return jnp.einsum("...d,dv->...v", x, wide(self.w_unembed), precision="highest")


def effective_blocks(model: Any) -> Iterator[np.ndarray]:
    r"""$\mathrm{diag}(g) W_U$ in float64, some columns `(d, n)` at a time, centred over d behind a LayerNorm.

    It is what `ji.weights.fold_norms` makes of the unembedding, whether the norms were folded or not.
    """
    gain, own = getattr(model.ln_final, "weight", None), model.w_unembed
    whole = np.asarray(model.w_embed).T if own is None else np.asarray(own)
    gain = np.ones(len(whole)) if gain is None else np.asarray(gain).astype(np.float64)
    for start in range(0, whole.shape[1], COLUMNS):
        block = gain[:, None] * whole[:, start : start + COLUMNS].astype(np.float64)
        if not np.isfinite(block).all():
            raise ValueError("Weights of the unembedding are NaN or infinite: is the model loaded whole?")
        yield block - block.mean(0) if _centres(model) else block


def written(model: Any, layer: int | None = None) -> np.ndarray:
    """Output weights `(ff, d)` of a layer, or of all `(layer, ff, d)`, in float64 and as the last norm sees them."""
    out = np.asarray(model.blocks.mlp.w_out)
    out = (out if layer is None else out[layer]).astype(np.float64)
    if not np.isfinite(out).all():
        raise ValueError("Output weights of neurons are NaN or infinite: is the model loaded whole?")
    return out - out.mean(-1, keepdims=True) if _centres(model) else out


def _centres(model: Any) -> bool:
    """Whether there is a last norm, and it subtracts the mean."""
    return model.ln_final is not None and bool(model.ln_final.centres)


def check_readout(model: Any, caller: str, *, scaled: bool = True) -> Any:
    """The model, which has MLPs and an unembedding of its tokens, behind a last norm where its scale is read
    (`scaled`). No edits act on it."""
    if hasattr(model, "edits"):
        raise ValueError(
            f"neurons.{caller} reads output weights and the unembedding, and cannot see the edits of an "
            f"intervened model. Give it the model inside: ji.neurons.{caller}(model.model, ...)."
        )
    inner = check_layout(model, "process")
    if inner.blocks.mlp is None:
        raise ValueError(f"This {type(model).__name__} has no MLP (ff=0), so it has no neurons.")
    if scaled and inner.ln_final is None:
        raise ValueError(
            f"neurons.{caller} splits an effect by the scale of the last norm; this {type(model).__name__} has no "
            "norm (norm=False), so that every effect is direct. For losses without a neuron use "
            "ji.neurons.ablation(model, classes, neurons)."
        )
    check_predicts_tokens(inner.config, "Effects of neurons are measured on the prediction of next tokens")
    return inner


def as_layer(model: Any, layer: Any, caller: str) -> int:
    """A layer as an int from 0."""
    count = layer_count(model)
    number = as_int(layer, "layer")
    check_index("layer", number, count, f"neurons.{caller}(model, corpus, layer={number})")
    return number % count
