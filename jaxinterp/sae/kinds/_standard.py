r"""The recipe of April 2024: $f = \mathrm{ReLU}(x W_e + b_e)$, the decoder's norm inside the penalty."""

from typing import Any, final

import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike
from ..training._optimizers import adam
from ._checks import check_coefficient
from ._kind import INIT, Kind
from ._losses import Losses, Progress
from ._relu import ReLUDictionary
from ._rows import align, norm_scale, random_directions


@final
class Standard(Kind):
    r"""$\frac1B \sum_b \bigl[ \lVert x - \hat x \rVert^2 + \lambda \sum_i f_i \lVert d_i \rVert \bigr]$, decoder norms free.

    Anthropic, April 2024 (https://transformer-circuits.pub/2024/april-update): inputs scaled so that
    $\mathbb E \lVert x \rVert = \sqrt d$, no bias subtracted from them, the encoder begins as the
    transposed decoder with rows of norm 0.1, $\lambda$ rises over the first 5% of the steps.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `sparsity`: $\lambda$, of sums over d and over features, by default 5;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    sae, history = ji.sae.train(ji.sae.Standard(d=512, features=4096), stream, key=key, steps=50_000)
    ```

    Law: multiplying an encoder column and dividing the decoder row by the same number changes nothing.
    """

    sparsity: JaxArray

    @respelled(key=INIT)
    def __init__(self, *, d: int, features: int, sparsity: ArrayLike = 5.0, matmul: str = "float32") -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_coefficient("Standard", "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)

    def dictionary(self, **arrays: Any) -> ReLUDictionary:
        """The dictionary of these arrays."""
        return ReLUDictionary(kind=self, **arrays)

    def init(self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None) -> ReLUDictionary:
        """Decoder rows of norm 0.1, the encoder their transpose; the scale is that of the sample."""
        decoder = 0.1 * random_directions(key, self.features, self.d)
        return self.dictionary(
            encoder=decoder.T,
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=decoder,
            bias=jnp.zeros(self.d, jnp.float32),
            scale=norm_scale(x, self.d),
        )

    def loss(self, dictionary: ReLUDictionary, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The squared error, and features times the norms of their rows."""
        f = dictionary.activate(dictionary.pre(x))
        error = jnp.mean(self.squares(y * dictionary.scale - dictionary.reconstruct(f)))
        norms = jnp.linalg.norm(dictionary.decoder.astype(jnp.float32), axis=-1)
        penalty = jnp.mean(jnp.sum(f.astype(jnp.float32) * align(norms, f), -1))
        terms = {"reconstruction": error, "sparsity": now.warm * self.sparsity * penalty}
        return Losses.of(terms, f)

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 5e-5, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(5e-5, steps, decay_share=0.2, clip_norm=1.0)

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """Rises over the first 5% of the steps."""
        return jnp.minimum(1.0, (step + 1) / max(1.0, 0.05 * steps))
