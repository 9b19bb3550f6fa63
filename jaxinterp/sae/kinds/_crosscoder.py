r"""Crosscoders: one set of features for several layers, or for two models."""

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
    empty,
    filled,
    unit,
    wide,
)
from ._standard import norm_scale


class Crosscoder(Dictionary):
    r"""$f = \mathrm{ReLU}(\sum_s x^s W_e^s + b_e)$, $\hat x^s = f W_d^s + b^s$ over sources s.

    Loss $\frac1B \sum_b \bigl[ \sum_s \lVert x^s - \hat x^s \rVert^2 + \lambda \sum_i f_i \sum_s \lVert
    d_i^s \rVert \bigr]$, each source scaled so that $\mathbb E \lVert x^s \rVert = \sqrt d$. Lindsey et
    al. 2024 (https://transformer-circuits.pub/2024/crosscoders).

    **Arguments:** `d`, `features`; `sources`; `sparsity` $\lambda$; `key`; `matmul`. Activations are
    `(..., source, d)`.

    `encoder (source, d, features)`, `decoder (features, source, d)`, `bias (source, d)`, `scale (source,)`.

    ```python
    sae, history = ji.sae.train(ji.sae.Crosscoder(d=512, features=4096, sources=2), x, key=key, steps=20_000)
    sae.only()  # per feature: 0 is the first model's alone, 1 the second's
    ```

    Law: with one source it is `Standard`.
    """

    sparsity: Any
    sources: int = eqx.field(static=True)

    FIXED: ClassVar[tuple[str, ...]] = ("scale", "sparsity")

    def __init__(
        self,
        *,
        d: int,
        features: int,
        sources: int = 2,
        sparsity: Any = 2.0,
        key: Any = None,
        matmul: str = "float32",
    ) -> None:
        super().__init__(d, features, matmul=matmul, centred=False)
        check_sizes("Crosscoder", sources=sources)
        check_coefficient("Crosscoder", "sparsity", sparsity)
        self.encoder, self.decoder = empty(sources, d, features), empty(features, sources, d)
        self.bias, self.scale = empty(sources, d), empty(sources)
        self.sparsity, self.sources = jnp.asarray(sparsity, jnp.float32), sources
        self._draw(key)

    def initial(self, key: Any, x: Any, y: Any) -> dict[str, Any]:
        shape = self.features, self.sources, self.d
        decoder = 0.08 * unit(jax.random.normal(key, shape, jnp.float32))
        scale = jnp.ones(self.sources, jnp.float32)
        if x is not None:
            scale = jnp.stack([norm_scale(x[:, s], self.d) for s in range(self.sources)])
        return {
            "encoder": jnp.transpose(decoder, (1, 2, 0)),
            "encoder_bias": jnp.zeros(self.features, jnp.float32),
            "decoder": decoder,
            "bias": jnp.zeros((self.sources, self.d), jnp.float32),
            "scale": scale,
        }

    def check(self, x: Any) -> None:
        """Activations of all sources."""
        super().check(x)
        if x.ndim < 2 or x.shape[-2] != self.sources:
            raise ValueError(
                f"This Crosscoder reads (..., source={self.sources}, d={self.d}); got {x.shape}. "
                "Put the sources side by side: jnp.stack([a, b], -2)."
            )

    def _flat(self, w: Any) -> Any:
        return w.reshape(self.sources * self.d, self.features)

    def pre(self, x: Any) -> Any:
        """Pre-activations, summed over sources."""
        x = (x * wide(self.scale[:, None], x)).reshape(*x.shape[:-2], -1)
        pre = self.product(x, self._flat(self.encoder))
        return pre + wide(self.encoder_bias, pre)

    def reconstruct(self, f: Any) -> Any:
        """All sources, in scaled units."""
        y = self.product(f, self.decoder.reshape(self.features, -1))
        y = y.reshape(*f.shape[:-1], self.sources, self.d)
        return y + wide(self.bias, y)

    def decode(self, f: Any) -> Any:
        """All sources `(..., source, d)`."""
        y = self.reconstruct(f)
        return (y / wide(self.scale[:, None], y)).astype(f.dtype)

    def fold(self) -> Any:
        """The same function with every `scale` 1."""
        by = self.scale[:, None]
        return filled(
            self,
            encoder=self.encoder * by[..., None],
            decoder=self.decoder / by[None],
            bias=self.bias / by,
            scale=jnp.ones_like(self.scale),
        )

    @property
    def norms(self) -> Any:
        """Norms of the decoder `(features, source)`."""
        return jnp.linalg.norm(self.decoder.astype(jnp.float32), axis=-1)

    def loss(self, x: Any, y: Any, now: Moment) -> Losses:
        f = self.activate(self.pre(x))
        error = y * wide(self.scale[:, None], y) - self.reconstruct(f)
        weight = jnp.sum(self.norms, -1)
        penalty = jnp.mean(jnp.sum(f.astype(jnp.float32) * wide(weight, f), -1))
        terms = {
            "reconstruction": jnp.mean(jnp.sum(self.squares(error), -1)),
            "sparsity": now.warm * self.sparsity * penalty,
        }
        return Losses(terms["reconstruction"] + terms["sparsity"], terms, f, {})

    def only(self, a: int = 0, b: int = 1) -> Any:
        r"""$r_i = \lVert d_i^b \rVert / (\lVert d_i^a \rVert + \lVert d_i^b \rVert)$: 0 a's alone, 1 b's, 0.5 shared."""
        norms = self.norms
        return norms[:, b] / jnp.maximum(norms[:, a] + norms[:, b], 1e-30)

    def alike(self, a: int = 0, b: int = 1) -> Any:
        r"""$\cos(d_i^a, d_i^b)$ `(features,)`: whether shared features point the same way."""
        rows = unit(self.decoder.astype(jnp.float32))
        return jnp.sum(rows[:, a] * rows[:, b], -1)

    def optimizer(self, steps: int) -> Any:
        """Adam at 5e-5, linear to 0 over the last fifth, gradients of norm at most 1."""
        return adam(5e-5, steps, decay=0.2, clip=1.0)

    def warm(self, step: Any, steps: int) -> Any:
        """Rises over the first 5%."""
        return jnp.minimum(1.0, (step + 1) / max(1.0, 0.05 * steps))
