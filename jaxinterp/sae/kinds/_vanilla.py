r"""The autoencoder of Towards Monosemanticity: $f = \mathrm{ReLU}((x - b) W_e + b_e)$, $\hat x = f W_d + b$."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ..training._optimizers import adam
from ._dictionary import (
    Dictionary,
    Losses,
    Moment,
    check_coefficient,
    geometric_median,
    unit,
)


class Vanilla(Dictionary):
    r"""$\frac1B \sum_b \bigl[ \frac1d \lVert x - \hat x \rVert^2 + \lambda \sum_i f_i \bigr]$, decoder rows of norm 1.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features): the bias is
    subtracted from the input and added to the output; gradients are projected off the decoder's
    rows, which keep norm 1; dead features are resampled at given steps (`ji.sae.resample`, by the
    squares of the whole loss).

    **Arguments:** `d`, `features`; `sparsity` $\lambda$, of a squared error averaged over d and a sum
    over features (0.004 for d = 512; in the convention that sums both it is d times that);
    `resample`: steps at which features that did not fire for `window` steps are drawn anew;
    `key` for weights at once; `matmul`: dtype of the products.

    ```python
    kind = ji.sae.Vanilla(d=512, features=4096, sparsity=4e-3)
    sae, history = ji.sae.train(kind, stream, key=key, steps=100_000, batch_size=8192)
    ```

    Law: rows of the decoder have norm 1 after every step.
    """

    sparsity: Any
    resample: tuple[int, ...] = eqx.field(static=True)
    window: int = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity")
    UNIT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: Any = 4e-3,
        resample: tuple[int, ...] = (25_000, 50_000, 75_000, 100_000),
        window: int = 12_500,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul)
        check_coefficient("Vanilla", "sparsity", sparsity)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self.resample, self.window = tuple(resample), window
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        one, two = jax.random.split(key)
        limit = (6 / self.d) ** 0.5
        encoder = jax.random.uniform(
            one, (self.d, self.features), minval=-limit, maxval=limit, dtype=jnp.float32
        )
        decoder = jax.random.uniform(two, (self.features, self.d), minval=-1.0, maxval=1.0, dtype=jnp.float32)
        return {
            "encoder": encoder,
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": unit(decoder),
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
        }

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        f = self.activate(self.pre(x))
        error = jnp.mean(self.squares(y * self.scale - self.reconstruct(f))) / self.d
        norm = jnp.mean(jnp.sum(f.astype(jnp.float32), -1))
        terms = {"reconstruction": error, "sparsity": now.warm * self.sparsity * norm}
        return Losses(terms["reconstruction"] + terms["sparsity"], terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 3e-4, constant: the paper gives no rate."""
        return adam(3e-4, steps)

    def dead_after(self, batch: int) -> int:
        """The window of resampling."""
        return self.window
