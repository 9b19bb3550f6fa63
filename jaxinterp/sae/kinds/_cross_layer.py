r"""Cross-layer transcoders: features of a layer write to every later layer's MLP output."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, FloatLike, JaxArray, KeyLike, OptimizerLike, Self
from ..training._optimizers import adam
from ._checks import check_coefficient, check_sizes
from ._dictionary import Dictionary
from ._jumprelu import jump
from ._kind import INIT, Shapes
from ._losses import Progress
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import align, norm_scale, random_directions


@final
class CrossLayerDictionary(Dictionary["CrossLayerTranscoder"]):
    r"""$f^l = \mathrm{JumpReLU}(x^l W_e^l + b_e^l)$, $\hat y^l = \sum_{l' \le l} f^{l'} W_d^{l' \to l} + b^l$.

    `encoder (layer, d, features)`, `decoder (layer, to, features, d)` of which nothing is written
    backwards, `log_threshold (layer, features)`, `scale` of inputs and `target_scale` of outputs `(layer,)`.
    """

    log_threshold: JaxArray
    target_scale: JaxArray

    def fixed(self) -> tuple[str, ...]:
        """The scales of inputs and outputs."""
        return ("scale", "target_scale")

    @property
    def forwards(self) -> JaxArray:
        """The decoder with everything that would write to an earlier layer 0."""
        layers = self.kind.layers
        ahead = jnp.triu(jnp.ones((layers, layers), bool))
        return jnp.where(ahead[:, :, None, None], self.decoder, 0)

    def check(self, x: JaxArray) -> None:
        """Raises ValueError where x is not the inputs of all layers."""
        super().check(x)
        layers = self.kind.layers
        if x.ndim < 2 or x.shape[-2] != layers:
            raise ValueError(
                f"This CrossLayerTranscoder reads (..., layer={layers}, d={self.d}); got {x.shape}."
            )

    def pre(self, x: JaxArray) -> JaxArray:
        """Pre-activations `(..., layer, features)`."""
        x = x * align(self.scale[:, None], x)
        pre = jax.vmap(self.product, (-2, 0), -2)(x, self.encoder)
        return pre + align(self.encoder_bias, pre)

    def activate(self, pre: JaxArray) -> JaxArray:
        """What is above its threshold."""
        flat = pre.reshape(*pre.shape[:-2], -1)
        threshold = jnp.exp(self.log_threshold).reshape(-1)
        return jump(flat, threshold, self.kind.bandwidth).reshape(pre.shape)

    def fold(self) -> Self:
        """The same function with every `scale` 1."""
        out = self.target_scale
        return self.replace(
            encoder=self.encoder * self.scale[:, None, None],
            decoder=self.decoder / out[None, :, None, None],
            bias=self.bias / out[:, None],
            scale=jnp.ones_like(self.scale),
            target_scale=jnp.ones_like(out),
        )

    def reconstruct(self, f: JaxArray) -> JaxArray:
        """What all layers write, in scaled units."""
        return self.shifted(self.decoded(f))

    def decoded(self, f: JaxArray) -> JaxArray:
        """What all layers write without the bias."""
        layers, y = self.kind.layers, []
        for to in range(layers):
            # What all layers up to this one write to it, as one product.
            before = f[..., : to + 1, :].reshape(*f.shape[:-2], -1)
            y.append(self.product(before, self.decoder[: to + 1, to].reshape(-1, self.d)))
        return jnp.stack(y, -2)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """What all layers write `(..., layer, d)` from features `(..., layer, features)`."""
        f = jnp.asarray(f)
        y = self.reconstruct(f)
        return (y / align(self.target_scale[:, None], y)).astype(f.dtype)

    def source_rows(self) -> JaxArray:
        """The sum of what each feature writes to all layers, `(layer * features, layer, d)`, once for each."""
        layers = self.kind.layers
        rows = self.forwards / self.target_scale[None, :, None, None]
        rows = jnp.sum(rows, 1).reshape(layers * self.features, 1, self.d)
        return jnp.broadcast_to(rows, (len(rows), layers, self.d))


@final
class CrossLayerTranscoder(PartsKind):
    r"""$f^l = \mathrm{JumpReLU}(x^l W_e^l + b_e^l)$, $\hat y^l = \sum_{l' \le l} f^{l'} W_d^{l' \to l} + b^l$.

    The loss is $\frac1B \sum_b \bigl[ \sum_l \lVert \hat y^l - y^l \rVert^2 + \lambda \sum_{l,i} \tanh(c \lVert
    W_{d,i}^l \rVert f_i^l) + \mu \sum_{l,i\,\mathrm{dead}} \mathrm{ReLU}(\theta - \pi_i^l) \lVert W_{d,i}^l
    \rVert \bigr]$, where $W_{d,i}^l$ is all that feature i of layer l writes, inputs and targets of each
    layer scaled to $\mathbb E \lVert x \rVert = \sqrt d$. Ameisen et al. 2025
    (https://transformer-circuits.pub/2025/attribution-graphs/methods.html).

    **Arguments:**

    - `d`, `features`: the width of each layer, and the number of features per layer;
    - `layers`: how many layers; the stream yields pairs `(inputs, outputs)`, each `(batch, layer, d)`;
    - `sparsity`: $\lambda$, by default 1;
    - `sharpness`: c, by default 4;
    - `revival`: $\mu$, by default 3e-6;
    - `bandwidth`: the width of the rectangle of the thresholds' gradients, by default 1;
    - `threshold`: the first $\theta$, by default 0.03;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    mlp_in = mlp_out = jax.random.normal(key, (256, 4, 64))     # (row, layer, d): ji.data.activations
    kind = ji.sae.CrossLayerTranscoder(d=64, features=128, layers=4)
    sae, history = ji.sae.train(kind, (mlp_in, mlp_out), key=key, steps=20_000, batch_size=128)
    ```

    Law: the output for layer l depends on inputs of layers up to l only; with one layer it is a transcoder.
    """

    sparsity: JaxArray
    sharpness: JaxArray
    revival: JaxArray
    bandwidth: JaxArray
    threshold: float = eqx.field(static=True)
    layers: int = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        layers: int,
        sparsity: ArrayLike = 1.0,
        sharpness: ArrayLike = 4.0,
        revival: ArrayLike = 3e-6,
        bandwidth: ArrayLike = 1.0,
        threshold: FloatLike = 0.03,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_sizes("CrossLayerTranscoder", layers=layers)
        check_coefficient("CrossLayerTranscoder", "sparsity", sparsity)
        self.layers, self.threshold = layers, float(threshold)
        self.sparsity, self.sharpness, self.revival, self.bandwidth = (
            jnp.asarray(v, jnp.float32) for v in (sparsity, sharpness, revival, bandwidth)
        )

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        layers, features, d = self.layers, self.features, self.d
        return {
            "encoder": (layers, d, features),
            "encoder_bias": (layers, features),
            "decoder": (layers, layers, features, d),
            "bias": (layers, d),
            "scale": (layers,),
            "log_threshold": (layers, features),
            "target_scale": (layers,),
        }

    def dictionary(self, **arrays: Any) -> CrossLayerDictionary:
        """The dictionary of these arrays."""
        return CrossLayerDictionary(kind=self, **arrays)

    def init(
        self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None
    ) -> CrossLayerDictionary:
        """Random encoders, whose transposes over 10 write to their own layers; scales of the sample."""
        keys = jax.random.split(key, self.layers)
        encoder = jax.vmap(lambda k: random_directions(k, self.features, self.d).T)(keys)
        # The first guess writes to its own layer, as a transcoder would.
        own = jnp.transpose(encoder, (0, 2, 1)) * 0.1
        decoder = jnp.zeros((self.layers, self.layers, self.features, self.d), jnp.float32)
        each = jnp.arange(self.layers, dtype=jnp.int32)
        return self.dictionary(
            encoder=encoder,
            encoder_bias=jnp.zeros((self.layers, self.features), jnp.float32),
            decoder=decoder.at[each, each].set(own),
            bias=jnp.zeros((self.layers, self.d), jnp.float32),
            scale=self._scales(x),
            log_threshold=jnp.full((self.layers, self.features), jnp.log(self.threshold), jnp.float32),
            target_scale=self._scales(y),
        )

    def _scales(self, sample: JaxArray | None) -> JaxArray:
        if sample is None:
            return jnp.ones(self.layers, jnp.float32)
        return jnp.stack([norm_scale(sample[:, layer], self.d) for layer in range(self.layers)])

    def part(self, dictionary: CrossLayerDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """What all layers write, and the means of the penalty and of the term that revives dead features."""
        pre = dictionary.pre(x)
        f = dictionary.activate(pre)
        norms = jnp.sqrt(jnp.sum(jnp.square(dictionary.forwards), (1, 3)) + 1e-12)
        active = jnp.tanh(self.sharpness * align(norms, f) * f)
        low = jax.nn.relu(align(jnp.exp(dictionary.log_threshold), pre) - pre) * align(norms, pre)
        low = jnp.where(align(now.dead, low), low, 0)
        sums = {
            "decoded": dictionary.decoded(f),
            "active": jnp.mean(jnp.sum(active, (-2, -1))),
            "low": jnp.mean(jnp.sum(low, (-2, -1))),
        }
        return Part(sums, f)

    def terms(
        self, dictionary: CrossLayerDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The squared errors of all layers, the penalty, and the term that revives dead features."""
        error = y * align(dictionary.target_scale[:, None], y) - dictionary.shifted(sums["decoded"])
        return {
            "reconstruction": jnp.mean(jnp.sum(self.squares(error), -1)),
            "sparsity": now.warm * self.sparsity * sums["active"],
            "aux": self.revival * sums["low"],
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 2e-4, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(2e-4, steps, decay_share=0.2, clip_norm=1.0)

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """Rises linearly over the whole run."""
        return jnp.minimum(1.0, (step + 1) / steps)
