r"""Temporal dictionaries: attention predicts what it can from earlier tokens, features say what is new."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ._dictionary import check_sizes, empty, wide
from ._selected import select
from ._untrained import Untrained

ATTENTION = ("query", "key", "value", "out")


class Temporal(Untrained):
    r"""$\hat x_t = (f_t + p_t) W_d + b$: codes $p_t$ predicted from tokens before t, and new ones $f_t$.

    Per layer of attention, with $r$ the residual (at first $s x - b$) and $z = \mathrm{ReLU}(\lambda r
    W_e)$, $\lambda = 1 / 4d$: $\pi = \mathrm{ReLU}(\mathrm{attend}(z_t; z_{<t}))$, scaled so that
    $\pi W_d$ is the projection of r on its direction, is added to p and taken from r. The rest is
    encoded, $f = \mathrm{ReLU}(\lambda r W_e)$, its k largest where k is given. As SAELens reads them;
    not trained here. Lubana et al. 2025 (https://arxiv.org/abs/2511.01836).

    Activations are `(..., pos, d)`, one text along `pos`: rows of a shuffled stream have no order.
    `encode` gives the new codes; `decode(f, x)` predicts the others from x again.

    Arguments: `d`, `features`; `heads`, `bottleneck`, `layers` of attention; `k` or None; `tied`:
    the encoder is the decoder transposed; `centred`.

    ```python
    sae = ji.sae.load("folder")  # of architecture "temporal"
    sae.encode(x), sae(x)  # x (batch, pos, d)
    ```

    Law: what it says of a token does not depend on later ones.
    """

    query: Any
    query_bias: Any
    key: Any
    key_bias: Any
    value: Any
    value_bias: Any
    out: Any
    out_bias: Any
    heads: int = eqx.field(static=True)
    bottleneck: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    k: int | None = eqx.field(static=True)
    tied: bool = eqx.field(static=True)

    READS_INPUT: ClassVar[bool] = True

    def __init__(
        self,
        *,
        d: int,
        features: int,
        heads: int = 8,
        bottleneck: int = 64,
        layers: int = 1,
        k: int | None = None,
        tied: bool = True,
        centred: bool = True,
    ) -> None:
        super().__init__(d, features, centred=centred)
        check_sizes("Temporal", heads=heads, bottleneck=bottleneck, layers=layers)
        if features % (heads * bottleneck):
            raise ValueError(
                f"Temporal: heads x bottleneck ({heads} x {bottleneck}) divides features; got {features}."
            )
        self.encoder = None if tied else self.encoder
        self.encoder_bias = None
        low, m = features // bottleneck, features
        for name, width in zip(ATTENTION, (low, low, m, m), strict=True):
            setattr(self, name, empty(layers, width, m))
            setattr(self, f"{name}_bias", empty(layers, width))
        self.heads, self.bottleneck, self.layers = heads, bottleneck, layers
        self.k, self.tied = k, tied

    def codes(self, x: Any) -> tuple[Any, Any]:
        """New and predicted codes `(..., pos, features)` of x `(..., pos, d)`."""
        self.check(x)
        if x.ndim < 2:
            raise ValueError(f"Temporal reads (..., pos, d), a text at a time; got {x.shape}.")
        left = x.astype(jnp.float32) * self.scale
        left = left - wide(self.bias, left) if self.centred else left
        encoder = self.decoder.T if self.tied else self.encoder
        small = 1 / (4 * self.d)
        predicted = jnp.zeros((*x.shape[:-1], self.features), jnp.float32)
        for layer in range(self.layers):
            z = jax.nn.relu(self.product(left * small, encoder))
            part = jax.nn.relu(self.attend(layer, z))
            back = self.product(part, self.decoder)
            norm = jnp.linalg.norm(back, axis=-1, keepdims=True) + 1e-6
            share = jnp.sum(back * left, -1, keepdims=True) / jnp.square(norm)
            predicted = predicted + part * share
            left = left - share * back
        pre = self.product(left * small, encoder)
        f = jax.nn.relu(pre) if self.k is None else select(pre, self.k, "topk")
        return f, predicted

    def attend(self, layer: int, z: Any) -> Any:
        """Attention of each token to those before it, keys and values one token late."""
        before = jnp.concatenate([jnp.zeros_like(z[..., :1, :]), z[..., :-1, :]], -2)

        def project(name: str, at: Any) -> Any:
            weight, bias = getattr(self, name)[layer], getattr(self, f"{name}_bias")[layer]
            found = self.product(at, weight.T)
            return found + wide(bias, found)

        def split(name: str, at: Any) -> Any:  # (..., head, pos, width)
            found = project(name, at)
            return jnp.moveaxis(found.reshape(*found.shape[:-1], self.heads, -1), -2, -3)

        q, k, v = split("query", z), split("key", before), split("value", before)
        scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2), precision="highest") / q.shape[-1] ** 0.5
        seen = wide(jnp.tri(z.shape[-2], dtype=bool), scores)
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1)
        mixed = jnp.moveaxis(jnp.matmul(weights, v, precision="highest"), -3, -2)
        return project("out", mixed.reshape(z.shape))

    def encode(self, x: Any) -> Any:
        """The new codes `(..., pos, features)`."""
        return self.codes(x)[0].astype(x.dtype)

    def decode(self, f: Any, x: Any = None) -> Any:
        """Activations of codes and of what x predicts; without x, of the codes alone."""
        whole = f if x is None else f + self.codes(x)[1].astype(f.dtype)
        return (self.reconstruct(whole) / self.scale).astype(f.dtype)

    def reconstruct(self, f: Any) -> Any:
        """$f W_d + b$; a tied one that is not centred has no bias."""
        xhat = self.product(f, self.decoder)
        return xhat + wide(self.bias, xhat) if self.centred or not self.tied else xhat

    def __call__(self, x: Any) -> Any:
        """The reconstruction of x, new and predicted."""
        f, predicted = self.codes(x)
        return (self.reconstruct(f + predicted) / self.scale).astype(x.dtype)
