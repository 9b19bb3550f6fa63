r"""Cross-layer transcoders: features of a layer write to every later layer's MLP output."""

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
    check_sizes,
    directions,
    empty,
    filled,
    wide,
)
from ._jumprelu import jump
from ._standard import norm_scale


class CrossLayerTranscoder(Dictionary):
    r"""$f^l = \mathrm{JumpReLU}(x^l W_e^l + b_e^l)$, $\hat y^l = \sum_{l' \le l} f^{l'} W_d^{l' \to l} + b^l$.

    Loss $\frac1B \sum_b \bigl[ \sum_l \lVert \hat y^l - y^l \rVert^2 + \lambda \sum_{l,i} \tanh(c \lVert
    W_{d,i}^l \rVert f_i^l) + \mu \sum_{l,i\,\mathrm{dead}} \mathrm{ReLU}(\theta - \pi_i^l) \lVert W_{d,i}^l
    \rVert \bigr]$, where $W_{d,i}^l$ is all that feature i of layer l writes, inputs and targets of each
    layer scaled to $\mathbb E \lVert x \rVert = \sqrt d$. Ameisen et al. 2025
    (https://transformer-circuits.pub/2025/attribution-graphs/methods.html).

    **Arguments:** `d`, `features` per layer, `layers`; `sparsity` $\lambda$, `sharpness` c, `revival`
    $\mu$; `threshold` the first $\theta$, `bandwidth`; `key`; `matmul`. The stream yields pairs
    `(inputs, outputs)`, each `(batch, layer, d)`.

    `encoder (layer, d, features)`, `decoder (layer, to, features, d)` with nothing written backwards.

    ```python
    kind = ji.sae.CrossLayerTranscoder(d=64, features=512, layers=4)
    sae, history = ji.sae.train(kind, (mlp_in, mlp_out), key=key, steps=20_000)
    ```

    Law: what layer l writes depends on inputs of layers up to l only; with one layer it is a transcoder.
    """

    log_threshold: Any
    target_scale: Any
    sparsity: Any
    sharpness: Any
    revival: Any
    bandwidth: Any
    first: float = eqx.field(static=True)
    layers: int = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = (
        "scale",
        "target_scale",
        "sparsity",
        "sharpness",
        "revival",
        "bandwidth",
    )

    def __init__(
        self,
        *,
        d: int,
        features: int,
        layers: int,
        sparsity: Any = 1.0,
        sharpness: Any = 4.0,
        revival: Any = 3e-6,
        bandwidth: Any = 1.0,
        threshold: float = 0.03,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_sizes("CrossLayerTranscoder", layers=layers)
        check_coefficient("CrossLayerTranscoder", "sparsity", sparsity)
        self.layers, self.first = layers, float(threshold)
        self.encoder, self.encoder_bias = empty(layers, d, features), empty(layers, features)
        self.decoder, self.bias = empty(layers, layers, features, d), empty(layers, d)
        self.log_threshold = empty(layers, features)
        self.scale, self.target_scale = empty(layers), empty(layers)
        self.sparsity, self.sharpness, self.revival, self.bandwidth = (
            jnp.asarray(v, jnp.float32) for v in (sparsity, sharpness, revival, bandwidth)
        )
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        shape = self.layers, self.d
        keys = jax.random.split(key, self.layers)
        encoder = jax.vmap(lambda k: directions(k, self.features, self.d).T)(keys)
        # The first guess writes to its own layer, as a transcoder would.
        own = jnp.transpose(encoder, (0, 2, 1)) * 0.1
        decoder = jnp.zeros((self.layers, self.layers, self.features, self.d), jnp.float32)
        decoder = decoder.at[
            jnp.arange(self.layers, dtype=jnp.int32), jnp.arange(self.layers, dtype=jnp.int32)
        ].set(own)
        scales = lambda a: (
            jnp.ones(self.layers, jnp.float32)
            if a is None
            else jnp.stack([norm_scale(a[:, layer], self.d) for layer in range(self.layers)])
        )
        return {
            "encoder": encoder,
            "encoder_bias": jnp.zeros((self.layers, self.features), jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros(shape, jnp.float32),
            "scale": scales(x),
            "target_scale": scales(y),
            "log_threshold": jnp.full((self.layers, self.features), jnp.log(self.first), jnp.float32),
        }

    @property
    def forwards(self) -> Any:
        """The decoder with everything that would write to an earlier layer 0."""
        ahead = jnp.triu(jnp.ones((self.layers, self.layers), bool))
        return jnp.where(ahead[:, :, None, None], self.decoder, 0)

    def check(self, x: Any) -> None:
        """Inputs of all layers."""
        super().check(x)
        if x.ndim < 2 or x.shape[-2] != self.layers:
            raise ValueError(
                f"This CrossLayerTranscoder reads (..., layer={self.layers}, d={self.d}); got {x.shape}."
            )

    def pre(self, x: Any) -> Any:
        """Pre-activations `(..., layer, features)`."""
        x = x * wide(self.scale[:, None], x)
        made = jnp.einsum("...ld,ldf->...lf", x, self.encoder, precision="highest")
        return made + wide(self.encoder_bias, made)

    def activate(self, pre: Any) -> Any:
        """What is above its threshold."""
        flat = pre.reshape(*pre.shape[:-2], -1)
        threshold = jnp.exp(self.log_threshold).reshape(-1)
        return jump(flat, threshold, self.bandwidth).reshape(pre.shape)

    def fold(self) -> Any:
        """The same function with every `scale` 1."""
        out = self.target_scale
        return filled(
            self,
            encoder=self.encoder * self.scale[:, None, None],
            decoder=self.decoder / out[None, :, None, None],
            bias=self.bias / out[:, None],
            scale=jnp.ones_like(self.scale),
            target_scale=jnp.ones_like(out),
        )

    def _write(self, f: Any) -> Any:
        made = jnp.einsum("...lf,ltfd->...td", f, self.forwards, precision="highest")
        return made + wide(self.bias, made)

    def decode(self, f: Any) -> Any:
        """What all layers write `(..., layer, d)` from features `(..., layer, features)`."""
        y = self._write(f)
        return (y / wide(self.target_scale[:, None], y)).astype(f.dtype)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        pre = self.pre(x)
        f = self.activate(pre)
        error = y * wide(self.target_scale[:, None], y) - self._write(f)
        norms = jnp.sqrt(jnp.sum(jnp.square(self.forwards), (1, 3)) + 1e-12)
        active = jnp.tanh(self.sharpness * wide(norms, f) * f)
        low = jax.nn.relu(wide(jnp.exp(self.log_threshold), pre) - pre) * wide(norms, pre)
        terms = {
            "reconstruction": jnp.mean(jnp.sum(self.squares(error), -1)),
            "sparsity": now.warm * self.sparsity * jnp.mean(jnp.sum(active, (-2, -1))),
            "aux": self.revival * jnp.mean(jnp.sum(jnp.where(wide(now.dead, low), low, 0), (-2, -1))),
        }
        return Losses(sum(terms.values()), terms, f, {})

    def optimizer(self, steps: int) -> Any:
        """Adam at 2e-4, linear to 0 over the last fifth."""
        return adam(2e-4, steps, decay=0.2, clip=1.0)

    def warm(self, step: Any, steps: int) -> Any:
        """Rises linearly over the whole run."""
        return jnp.minimum(1.0, (step + 1) / steps)
