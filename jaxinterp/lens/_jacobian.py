r"""The Jacobian lens: a stream read through its average linear effect on the last stream."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..typing import PyTree
from ._read import Lens


class JacobianLens(Lens):
    r"""$\text{logits}_r = \mathrm{norm}(J_r\, x_r)\,W_U$: each stream read through its average effect on the last one.

    ```python
    lens = ji.lens.JacobianLens(jnp.eye(model.config.d)[None], layers=(1,))
    logits = lens(model, tokens)                        # (len(lens.layers) + 1, *batch, pos, vocab)
    ```

    Law: where all blocks of a model are linear, each row gives the model's own logits.
    """

    matrices: Float[Array, "row d d"]
    "$J$ as it acts on columns, `(row, d, d)`: the first axis is that of the last stream."
    layers: tuple[int, ...] = eqx.field(static=True)
    "The blocks whose outputs the lens reads; -1 stands for the embedding."

    def rows(self, count: int) -> tuple[int, ...]:
        if max(self.layers, default=-1) > count - 2:
            raise ValueError(
                f"This lens reads the outputs of blocks {self.layers}; of the model's {count} "
                f"blocks it can read those before the last, 0..{count - 2}."
            )
        return tuple(layer + 1 for layer in self.layers)

    def parameters(self) -> PyTree:
        return self.matrices

    @staticmethod
    def translate(parameters: PyTree, x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        wide = np.promote_types(x.dtype, np.float32)
        out = jnp.einsum("...d,ed->...e", x.astype(wide), parameters.astype(wide), precision="highest")
        return out.astype(x.dtype)
