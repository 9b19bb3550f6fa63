r"""Gated: one half of the encoder says whether a feature is there, the other how much."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..training._optimizers import adam
from ._dictionary import (
    Dictionary,
    Losses,
    Moment,
    check_coefficient,
    directions,
    empty,
    geometric_median,
    wide,
)


class Gated(Dictionary):
    r"""$f = [\pi > 0]\, \mathrm{ReLU}(e^{r} \odot (x - b) W_e + b_m)$ with $\pi = (x - b) W_e + b_e$.

    Trained on $\lVert x - \hat x \rVert^2 + \lambda \sum_i \mathrm{ReLU}(\pi_i) + \lVert x - \hat
    x_{\mathrm{gate}} \rVert^2$, means over the batch, where $\hat x_{\mathrm{gate}}$ decodes
    $\mathrm{ReLU}(\pi)$ with a decoder that is held fixed. Rajamanoharan et al. 2024
    (https://arxiv.org/abs/2404.16014).

    **Arguments:** `d`, `features`; `sparsity` $\lambda$, of sums over d and over features; `key` for
    weights at once; `matmul`: dtype of the products.

    ```python
    sae, history = ji.sae.train(ji.sae.Gated(d=512, features=4096, sparsity=1.0), stream, key=key, steps=50_000)
    ```

    Law: with r = 0 and equal biases it encodes as `Vanilla` does.
    """

    gain: Any  # r, one per feature
    magnitude_bias: Any
    sparsity: Any

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity")
    UNIT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sparsity: Any = 1.0,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul)
        check_coefficient("Gated", "sparsity", sparsity)
        self.gain, self.magnitude_bias = empty(features), empty(features)
        self.sparsity = jnp.asarray(sparsity, jnp.float32)
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        decoder = directions(key, self.features, self.d)
        return {
            "encoder": decoder.T,
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(self.d, jnp.float32) if x is None else geometric_median(x),
            "scale": jnp.ones((), jnp.float32),
            "gain": jnp.zeros(self.features, jnp.float32),
            "magnitude_bias": jnp.zeros(self.features, jnp.float32),
        }

    def activate(self, pre: Any) -> Any:
        """The gate and the magnitude, both of the same product."""
        shared = pre - wide(self.encoder_bias, pre)
        gain, shift = wide(jnp.exp(self.gain), pre), wide(self.magnitude_bias, pre)
        magnitude = jax.nn.relu(shared * gain + shift)
        return jnp.where(pre > 0, magnitude, 0)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        target = y * self.scale
        pre = self.pre(x)
        f, gate = self.activate(pre), jax.nn.relu(pre)
        fixed, shift = jax.lax.stop_gradient((self.decoder, self.bias))
        aside = self.product(gate, fixed) + shift[None]
        norm = jnp.mean(jnp.sum(gate.astype(jnp.float32), -1))
        terms = {
            "reconstruction": jnp.mean(self.squares(target - self.reconstruct(f))),
            "sparsity": now.warm * self.sparsity * norm,
            "aux": jnp.mean(self.squares(target - aside)),
        }
        return Losses(sum(terms.values()), terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 3e-4 without momentum (beta 0, 0.999), 1,000 steps of warm-up."""
        return adam(3e-4, steps, b1=0.0, warm=min(1000, steps // 10))
