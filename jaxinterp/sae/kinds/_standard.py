r"""The recipe of April 2024: $f = \mathrm{ReLU}(x W_e + b_e)$, the decoder's norm inside the penalty."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..training._optimizers import adam
from ._dictionary import Dictionary, Losses, Moment, check_coefficient, directions, squares, wide


class Standard(Dictionary):
    r"""$\frac1B \sum_b \bigl[ \lVert x - \hat x \rVert^2 + \lambda \sum_i f_i \lVert d_i \rVert \bigr]$, decoder norms free.

    Anthropic, April 2024 (https://transformer-circuits.pub/2024/april-update): inputs scaled so that
    $\mathbb E \lVert x \rVert = \sqrt d$, no bias subtracted from them, the encoder begins as the
    transposed decoder with rows of norm 0.1, $\lambda$ rises over the first 5% of the steps.

    **Arguments:** `d`, `features`; `sparsity` $\lambda$, of sums over d and over features; `key` for
    weights at once; `matmul`: dtype of the products.

    ```python
    sae, history = ji.sae.train(ji.sae.Standard(d=512, features=4096), stream, key=key, steps=50_000)
    ```

    Law: multiplying an encoder column and dividing the decoder row by the same number changes nothing.
    """

    sparsity: Any

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity")

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: Any = 5.0,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_coefficient("Standard", "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        decoder = 0.1 * directions(key, self.features, self.d)
        return {
            "encoder": decoder.T,
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32),
            "scale": norm_scale(x, self.d),
        }

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        f = self.activate(self.pre(x))
        error = jnp.mean(self.squares(y * self.scale - self.reconstruct(f)))
        norms = jnp.linalg.norm(self.decoder.astype(jnp.float32), axis=-1)
        penalty = jnp.mean(jnp.sum(f.astype(jnp.float32) * wide(norms, f), -1))
        terms = {"reconstruction": error, "sparsity": now.warm * self.sparsity * penalty}
        return Losses(terms["reconstruction"] + terms["sparsity"], terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 5e-5, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(5e-5, steps, decay=0.2, clip=1.0)

    def warm(self, step: Any, steps: int) -> Any:
        """Rises over the first 5%."""
        return jnp.minimum(1.0, (step + 1) / max(1.0, 0.05 * steps))


def norm_scale(x: Any, d: int) -> Any:
    r"""$\sqrt d / \mathbb E \lVert x \rVert$."""
    if x is None:
        return jnp.ones((), jnp.float32)
    mean = jnp.mean(jnp.linalg.norm(x.astype(jnp.float32), axis=-1))
    return d**0.5 / jnp.where(mean > 0, mean, 1.0)


def square_scale(x: Any) -> Any:
    r"""$1 / \sqrt{\mathbb E \lVert x \rVert^2}$: rows of mean squared norm 1."""
    if x is None:
        return jnp.ones((), jnp.float32)
    mean = jnp.mean(squares(x))
    return jax.lax.rsqrt(jnp.where(mean > 0, mean, 1.0))
