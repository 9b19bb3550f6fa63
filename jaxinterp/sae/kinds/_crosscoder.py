r"""Crosscoders: one set of features for several layers, or for two models."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._deprecations import respelled
from ...typing import ArrayLike, JaxArray, KeyLike, OptimizerLike, Self
from ..training._optimizers import adam
from ._checks import check_coefficient, check_sizes
from ._dictionary import Dictionary
from ._kind import INIT, Shapes
from ._losses import Progress
from ._parts import Part, PartPlace, PartsKind, Terms
from ._rows import align, norm_scale, unit_norm


@final
class CrosscoderDictionary(Dictionary["Crosscoder"]):
    r"""$f = \mathrm{ReLU}(\sum_s x^s W_e^s + b_e)$, $\hat x^s = f W_d^s + b^s$ over sources s.

    `encoder (source, d, features)`, `decoder (features, source, d)`, `bias (source, d)`, `scale (source,)`.
    """

    def check(self, x: JaxArray) -> None:
        """Raises ValueError where x is not the activations of all sources."""
        super().check(x)
        sources = self.kind.sources
        if x.ndim < 2 or x.shape[-2] != sources:
            raise ValueError(
                f"This Crosscoder reads (..., source={sources}, d={self.d}); got {x.shape}. "
                "Put the sources side by side: jnp.stack([a, b], -2)."
            )

    def pre(self, x: JaxArray) -> JaxArray:
        """Pre-activations, summed over sources."""
        x = (x * align(self.scale[:, None], x)).reshape(*x.shape[:-2], -1)
        pre = self.product(x, self.encoder.reshape(self.kind.sources * self.d, self.features))
        return pre + align(self.encoder_bias, pre)

    def activate(self, pre: JaxArray) -> JaxArray:
        """What is above 0."""
        return jax.nn.relu(pre)

    def reconstruct(self, f: JaxArray) -> JaxArray:
        """All sources, in scaled units."""
        return self.shifted(self.decoded(f))

    def decoded(self, f: JaxArray) -> JaxArray:
        """All sources without the bias."""
        y = self.product(f, self.decoder.reshape(self.features, -1))
        return y.reshape(*f.shape[:-1], self.kind.sources, self.d)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """All sources `(..., source, d)`."""
        f = jnp.asarray(f)
        y = self.reconstruct(f)
        return (y / align(self.scale[:, None], y)).astype(f.dtype)

    def fold(self) -> Self:
        """The same function with every `scale` 1."""
        by = self.scale[:, None]
        return self.replace(
            encoder=self.encoder * by[..., None],
            decoder=self.decoder / by[None],
            bias=self.bias / by,
            scale=jnp.ones_like(self.scale),
        )

    @property
    def norms(self) -> JaxArray:
        """The norms of the decoder `(features, source)`."""
        return jnp.linalg.norm(self.decoder.astype(jnp.float32), axis=-1)

    def source_rows(self) -> JaxArray:
        """What each feature writes to each source, `(features, source, d)`, in their units."""
        return self.decoder / self.scale[None, :, None]

    def only(self, a: int = 0, b: int = 1) -> JaxArray:
        r"""$r_i = \lVert d_i^b \rVert / (\lVert d_i^a \rVert + \lVert d_i^b \rVert)$: 0 a's alone, 1 b's, 0.5 shared."""
        norms = self.norms
        return norms[:, b] / jnp.maximum(norms[:, a] + norms[:, b], 1e-30)

    def alike(self, a: int = 0, b: int = 1) -> JaxArray:
        r"""$\cos(d_i^a, d_i^b)$ `(features,)`: whether shared features point the same way."""
        rows = unit_norm(self.decoder.astype(jnp.float32))
        return jnp.sum(rows[:, a] * rows[:, b], -1)


@final
class Crosscoder(PartsKind):
    r"""$f = \mathrm{ReLU}(\sum_s x^s W_e^s + b_e)$, $\hat x^s = f W_d^s + b^s$ over sources s.

    The loss is $\frac1B \sum_b \bigl[ \sum_s \lVert x^s - \hat x^s \rVert^2 + \lambda \sum_i f_i \sum_s \lVert
    d_i^s \rVert \bigr]$, each source scaled so that $\mathbb E \lVert x^s \rVert = \sqrt d$. Lindsey et
    al. 2024 (https://transformer-circuits.pub/2024/crosscoders).

    **Arguments:**

    - `d`, `features`: the width of each source, and the number of features;
    - `sources`: how many layers or models it reads, by default 2; activations are `(..., source, d)`;
    - `sparsity`: $\lambda$, by default 2;
    - `matmul`: the dtype of the products, by default "float32".

    ```python
    both = jax.random.normal(key, (256, 2, 64))         # (row, source, d)
    kind = ji.sae.Crosscoder(d=64, features=128, sources=2)
    sae, history = ji.sae.train(kind, both, key=key, steps=20_000, batch_size=128)
    sae.only()                                          # by feature: 0 belongs to the first source alone, 1 to the second
    ```

    Law: with one source it is `Standard`.
    """

    sparsity: JaxArray
    sources: int = eqx.field(static=True)

    @respelled(key=INIT)
    def __init__(
        self,
        *,
        d: int,
        features: int,
        sources: int = 2,
        sparsity: ArrayLike = 2.0,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_sizes("Crosscoder", sources=sources)
        check_coefficient("Crosscoder", "sparsity", sparsity)
        self.sparsity, self.sources = jnp.asarray(sparsity, jnp.float32), sources

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        return {
            "encoder": (self.sources, self.d, self.features),
            "encoder_bias": (self.features,),
            "decoder": (self.features, self.sources, self.d),
            "bias": (self.sources, self.d),
            "scale": (self.sources,),
        }

    def dictionary(self, **arrays: Any) -> CrosscoderDictionary:
        """The dictionary of these arrays."""
        return CrosscoderDictionary(kind=self, **arrays)

    def init(
        self, key: KeyLike, x: JaxArray | None = None, y: JaxArray | None = None
    ) -> CrosscoderDictionary:
        """Decoder rows of norm 0.08, the encoder their transpose; scales are those of the sample."""
        shape = self.features, self.sources, self.d
        decoder = 0.08 * unit_norm(jax.random.normal(key, shape, jnp.float32))
        scale = jnp.ones(self.sources, jnp.float32)
        if x is not None:
            scale = jnp.stack([norm_scale(x[:, s], self.d) for s in range(self.sources)])
        return self.dictionary(
            encoder=jnp.transpose(decoder, (1, 2, 0)),
            encoder_bias=jnp.zeros(self.features, jnp.float32),
            decoder=decoder,
            bias=jnp.zeros((self.sources, self.d), jnp.float32),
            scale=scale,
        )

    def part(self, dictionary: CrosscoderDictionary, x: JaxArray, now: Progress, place: PartPlace) -> Part:
        """Reconstructions of all sources, and the mean sum of features times the norms of their rows."""
        f = dictionary.activate(dictionary.pre(x))
        weight = jnp.sum(dictionary.norms, -1)
        penalty = jnp.mean(jnp.sum(f.astype(jnp.float32) * align(weight, f), -1))
        return Part({"decoded": dictionary.decoded(f), "penalty": penalty}, f)

    def terms(
        self, dictionary: CrosscoderDictionary, sums: Terms, x: JaxArray, y: JaxArray, now: Progress
    ) -> Terms:
        """The squared errors of all sources, and features times the norms of their rows."""
        error = y * align(dictionary.scale[:, None], y) - dictionary.shifted(sums["decoded"])
        return {
            "reconstruction": jnp.mean(jnp.sum(self.squares(error), -1)),
            "sparsity": now.warm * self.sparsity * sums["penalty"],
        }

    def optimizer(self, steps: int) -> OptimizerLike:
        """Adam at 5e-5, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(5e-5, steps, decay_share=0.2, clip_norm=1.0)

    def warm(self, step: JaxArray, steps: int) -> JaxArray:
        """Rises over the first 5% of the steps."""
        return jnp.minimum(1.0, (step + 1) / max(1.0, 0.05 * steps))
