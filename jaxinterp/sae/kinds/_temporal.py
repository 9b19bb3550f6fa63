r"""Temporal dictionaries: attention predicts what it can from earlier tokens, features say what is new."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray
from ._checks import check_sizes
from ._dictionary import Dictionary
from ._kind import Shapes
from ._rows import align
from ._selection import select
from ._untrained import UntrainedKind

ATTENTION = ("query", "key", "value", "out")


@final
class TemporalDictionary(Dictionary["Temporal"]):
    r"""$\hat x_t = (f_t + p_t) W_d + b$: codes $p_t$ predicted from tokens before t, and new ones $f_t$.

    The matrices of attention are `query`, `key`, `value` and `out`, each `(layer, to, from)`, with a bias
    `(layer, to)`.
    """

    query: JaxArray
    query_bias: JaxArray
    key: JaxArray
    key_bias: JaxArray
    value: JaxArray
    value_bias: JaxArray
    out: JaxArray
    out_bias: JaxArray

    READS_INPUT: ClassVar[bool] = True

    @property
    def d(self) -> int:
        """The width of the rows that it reads."""
        return self.decoder.shape[-1]

    @property
    def features(self) -> int:
        """The number of features."""
        return self.decoder.shape[0]

    def directions(self) -> JaxArray:
        """The decoder's rows `(features, d)` in float32."""
        return self.decoder.astype(jnp.float32)

    def codes(self, x: JaxArray) -> tuple[JaxArray, JaxArray]:
        """New and predicted codes `(..., pos, features)` of x `(..., pos, d)`."""
        self.check(x)
        if x.ndim < 2:
            raise ValueError(f"Temporal reads (..., pos, d), a text at a time; got {x.shape}.")
        left = x.astype(jnp.float32) * self.scale
        left = left - align(self.bias, left) if self.kind.centred else left
        encoder = self.decoder.T if self.kind.tied else self.encoder
        small = 1 / (4 * self.d)
        predicted = jnp.zeros((*x.shape[:-1], self.features), jnp.float32)
        for layer in range(self.kind.layers):
            z = jax.nn.relu(self.product(left * small, encoder))
            part = jax.nn.relu(self.attend(layer, z))
            back = self.product(part, self.decoder)
            norm = jnp.linalg.norm(back, axis=-1, keepdims=True) + 1e-6
            share = jnp.sum(back * left, -1, keepdims=True) / jnp.square(norm)
            predicted = predicted + part * share
            left = left - share * back
        return self.activate(self.product(left * small, encoder)), predicted

    def activate(self, pre: JaxArray) -> JaxArray:
        """What is above 0, or the k largest of it."""
        return jax.nn.relu(pre) if self.kind.k is None else select(pre, self.kind.k, "topk")

    def attend(self, layer: int, z: JaxArray) -> JaxArray:
        """Attention of each token to those before it, keys and values one token late."""
        before = jnp.concatenate([jnp.zeros_like(z[..., :1, :]), z[..., :-1, :]], -2)

        def project(name: str, at: JaxArray) -> JaxArray:
            weight, bias = getattr(self, name)[layer], getattr(self, f"{name}_bias")[layer]
            projected = self.product(at, weight.T)
            return projected + align(bias, projected)

        def split(name: str, at: JaxArray) -> JaxArray:  # (..., head, pos, width)
            projected = project(name, at)
            return jnp.moveaxis(projected.reshape(*projected.shape[:-1], self.kind.heads, -1), -2, -3)

        q, k, v = split("query", z), split("key", before), split("value", before)
        scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2), precision="highest") / q.shape[-1] ** 0.5
        seen = align(jnp.tri(z.shape[-2], dtype=bool), scores)
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1)
        mixed = jnp.moveaxis(jnp.matmul(weights, v, precision="highest"), -3, -2)
        return project("out", mixed.reshape(z.shape))

    def encode(self, x: ArrayLike) -> JaxArray:
        """The new codes `(..., pos, features)`."""
        x = jnp.asarray(x)
        return self.codes(x)[0].astype(x.dtype)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Activations of codes and of what x predicts; without x, of the codes alone."""
        f = jnp.asarray(f)
        whole = f if x is None else f + self.codes(jnp.asarray(x))[1].astype(f.dtype)
        return (self.reconstruct(whole) / self.scale).astype(f.dtype)

    def reconstruct(self, f: JaxArray) -> JaxArray:
        """$f W_d + b$; a tied one that is not centred has no bias."""
        xhat = self.product(f, self.decoder)
        return xhat + align(self.bias, xhat) if self.kind.centred or not self.kind.tied else xhat

    def __call__(self, x: ArrayLike) -> JaxArray:
        """The reconstruction of x, new and predicted."""
        x = jnp.asarray(x)
        f, predicted = self.codes(x)
        return (self.reconstruct(f + predicted) / self.scale).astype(x.dtype)


@final
class Temporal(UntrainedKind):
    r"""$\hat x_t = (f_t + p_t) W_d + b$: codes $p_t$ predicted from tokens before t, and new ones $f_t$.

    $r$ is the residual (at first $s x - b$), $z = \mathrm{ReLU}(\lambda r W_e)$ and $\lambda = 1 / 4d$. Each layer of
    attention computes $\pi = \mathrm{ReLU}(\mathrm{attend}(z_t; z_{<t}))$, scaled so that $\pi W_d$ is the projection of
    r on its direction. $\pi$ is added to p, and $\pi W_d$ is subtracted from r. The last residual is encoded,
    $f = \mathrm{ReLU}(\lambda r W_e)$, and with a k only the k largest entries are kept. SAELens trains such
    dictionaries; they are not trained here. Lubana et al. 2025 (https://arxiv.org/abs/2511.01836).

    Activations are `(..., pos, d)`, with one text along `pos`; the rows of a shuffled stream cannot be used.
    `encode` gives the new codes $f_t$; `decode(f, x)` predicts $p_t$ from x again.

    **Arguments:**

    - `d`, `features`: the width of a row, and the number of features;
    - `heads`, `bottleneck`, `layers`: the heads, the bottleneck and the layers of attention, by default 8, 64 and 1;
    - `k`: the number of new codes per token, or None for all above 0;
    - `tied`: whether the encoder is the decoder transposed, by default True;
    - `centred`: whether the bias is subtracted from inputs, by default True.

    ```python
    kind = ji.sae.Temporal(d=160, features=512)
    arrays = {name: 0.1 * jax.random.normal(key, shape) for name, shape in kind.shapes().items()}
    sae = ji.sae.from_arrays(kind, **arrays)            # or `ji.sae.load` of a SAELens folder
    text = x[:12][None]                                 # (batch, pos, d)
    sae.encode(text), sae(text)
    ```

    Law: the codes of a token do not depend on later tokens.
    """

    heads: int = eqx.field(static=True)
    bottleneck: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    k: int | None = eqx.field(static=True)
    tied: bool = eqx.field(static=True)

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
        self.heads, self.bottleneck, self.layers = heads, bottleneck, layers
        self.k, self.tied = k, tied

    def shapes(self) -> Shapes:
        """The shapes of the arrays of its dictionaries, by name."""
        low, m = self.features // self.bottleneck, self.features
        shapes: dict[str, tuple[int, ...]] = {"decoder": (m, self.d), "bias": (self.d,), "scale": ()}
        if not self.tied:
            shapes["encoder"] = (self.d, m)
        for name, width in zip(ATTENTION, (low, low, m, m), strict=True):
            shapes[name], shapes[f"{name}_bias"] = (self.layers, width, m), (self.layers, width)
        return shapes

    def dictionary(self, **arrays: Any) -> TemporalDictionary:
        """The dictionary of these arrays."""
        return TemporalDictionary(**{"encoder": None, "encoder_bias": None, **arrays}, kind=self)
