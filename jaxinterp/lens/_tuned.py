r"""The tuned lens: an affine translator per row, residual, so that zero is the logit lens."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._blocks import layer_count
from ..core._intervene import split_edits
from ._read import Lens


class TunedLens(Lens):
    r"""$\text{logits}_\ell = \mathrm{norm}(x_\ell + x_\ell A_\ell + b_\ell)\,W_U$: what layer $\ell$ knows, in the last layer's terms.

    Belrose et al. 2023 (https://arxiv.org/abs/2303.08112). Translator $\ell$ reads the stream that
    enters block $\ell$; the norm and the unembedding are the model's.

    - `weight` `(layer, d, d)`, from the stream's axis to the translated one; None trains a bias only.
    - `bias` `(layer, d)`.

    ```python
    lens = ji.lens.TunedLens.init(model)
    logits = lens(model, tokens)                        # (layer + 1, *batch, pos, vocab)
    ```

    Law: as `init` makes it, it is the logit lens, bit for bit.
    """

    weight: Float[Array, "layer d d"] | None
    bias: Float[Array, "layer d"]

    @staticmethod
    def init(model: Any, *, bias_only: bool = False) -> "TunedLens":
        """The logit lens, as a place to train from: every translator zero, in float32 at least."""
        model = split_edits(model)[0]
        layers, d = layer_count(model), model.config.d
        dtype = np.promote_types(model.w_embed.dtype, np.float32)
        weight = None if bias_only else jnp.zeros((layers, d, d), dtype)
        return TunedLens(weight, jnp.zeros((layers, d), dtype))

    def rows(self, count: int) -> tuple[int, ...]:
        layers, d = self.bias.shape
        if layers != count:
            raise ValueError(
                f"This lens has {layers} translators of width {d}; the model has {count} layers. "
                "A tuned lens belongs to the model that it was trained on."
            )
        return tuple(range(count))

    def parameters(self) -> Any:
        return self.weight, self.bias

    @staticmethod
    def translate(parameters: Any, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        weight, bias = parameters
        full = x.astype(np.promote_types(x.dtype, bias.dtype))
        change = jnp.broadcast_to(bias.astype(full.dtype), full.shape)
        if weight is not None:
            product = jnp.einsum("...d,de->...e", full, weight.astype(full.dtype), precision="highest")
            change = product + change
        return (full + change).astype(x.dtype)
