r"""The tuned lens: an affine translator for each row. The translator zero is the logit lens."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._blocks import layer_count
from ..core._intervene import split_edits
from ..typing import ModelLike, PyTree
from ._read import Lens


class TunedLens(Lens):
    r"""$\text{logits}_\ell = \mathrm{norm}(x_\ell + x_\ell A_\ell + b_\ell)\,W_U$: each layer read through a trained affine map.

    Belrose et al. 2023 (https://arxiv.org/abs/2303.08112). Translator $\ell$ reads the stream that
    enters block $\ell$; the norm and the unembedding are the model's.

    ```python
    lens = ji.lens.TunedLens.init(model)
    logits = lens(model, tokens)                        # (layer + 1, *batch, pos, vocab)
    ```

    Law: `init` returns the logit lens, bit for bit.
    """

    weight: Float[Array, "layer d d"] | None
    "$A$, `(layer, d, d)`, from the axis of the stream to the translated axis. None: a bias alone."
    bias: Float[Array, "layer d"]
    "$b$, `(layer, d)`."

    @staticmethod
    def init(model: ModelLike, *, bias_only: bool = False) -> "TunedLens":
        """The logit lens, where a training starts: all translators are zero, in float32 at least.

        **Arguments:**

        - `model`: the model that the lens will read.
        - `bias_only`: a lens without `weight`; False by default.
        """
        inner = split_edits(model)[0]
        layers, d = layer_count(inner), inner.config.d
        dtype = np.promote_types(inner.w_embed.dtype, np.float32)
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

    def parameters(self) -> PyTree:
        return self.weight, self.bias

    @staticmethod
    def translate(parameters: PyTree, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        weight, bias = parameters
        full = x.astype(np.promote_types(x.dtype, bias.dtype))
        change = jnp.broadcast_to(bias.astype(full.dtype), full.shape)
        if weight is not None:
            product = jnp.einsum("...d,de->...e", full, weight.astype(full.dtype), precision="highest")
            change = product + change
        return (full + change).astype(x.dtype)
