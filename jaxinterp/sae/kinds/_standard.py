r"""The recipe of April 2024: $f = \mathrm{ReLU}(x W_e + b_e)$, the decoder's norm inside the penalty."""

from typing import final

import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray
from ._kind import INIT
from ._losses import Progress
from ._parts import Part, PartPlace, Terms
from ._penalised_relu import PenalisedReLU
from ._relu import ReLUDictionary
from ._rows import align


@final
class Standard(PenalisedReLU):
    r"""$\frac1B \sum_b \bigl[ \lVert x - \hat x \rVert^2 + \lambda \sum_i f_i \lVert d_i \rVert \bigr]$, decoder norms free.

    Anthropic, April 2024 (https://transformer-circuits.pub/2024/april-update). Inputs are scaled so that
    $\mathbb E \lVert x \rVert = \sqrt d$, and no bias is subtracted from them. The encoder begins as the
    transposed decoder, whose rows have norm 0.1. $\lambda$ rises over the first 5% of the steps.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$, of sums over d and over features, by default 5;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    sae, history = ji.sae.train(ji.sae.Standard(d=512, features=4096), stream, key=key, steps=50_000)
    ```

    Law: multiplying an encoder column and dividing the decoder row by the same number changes nothing.
    """

    @respelled(key=INIT)
    def __init__(self, *, d: int, features: int, sparsity: ArrayLike = 5.0, matmul: str = "float32") -> None:
        super().__init__(d, features, sparsity=sparsity, matmul=matmul)

    def part(self, dictionary: ReLUDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions, and the mean sum of features times the norms of their rows."""
        f = dictionary.activate(dictionary.pre(x))
        norms = jnp.linalg.norm(dictionary.decoder.astype(jnp.float32), axis=-1)
        penalty = jnp.mean(jnp.sum(f.astype(jnp.float32) * align(norms, f), -1))
        return Part({"decoded": dictionary.product(f, dictionary.decoder), "penalty": penalty}, f)

    def terms(
        self, dictionary: ReLUDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The squared error, and features times the norms of their rows."""
        error = y * dictionary.scale - dictionary.shifted(sums["decoded"])
        return {
            "reconstruction": jnp.mean(self.squares(error)),
            "sparsity": now.warm * self.sparsity * sums["penalty"],
        }
