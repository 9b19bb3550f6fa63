r"""What a dictionary is: arrays, an encoder to features and a decoder back."""

import abc
import dataclasses
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ...typing import ArrayLike, JaxArray, KeyLike, Self
from ._coder import Coder
from ._kind import Kind
from ._losses import Losses, Progress
from ._product import centred_product, product
from ._rows import align

AnyKind = TypeVar("AnyKind", bound=Kind)


class Dictionary(Coder, Generic[AnyKind]):
    r"""$f = \sigma((s x - b) W_e + b_e)$, $\hat x = (f W_d + b) / s$: the arrays of a trained kind.

    An abstract class. A subclass defines $\sigma$ (`activate`), and adds its own arrays. The bias
    is subtracted from inputs only where the kind is `centred`.

    **Arguments:**

    - `encoder (d, features)`, `encoder_bias (features,)`;
    - `decoder (features, d_out)`, `bias (d_out,)`;
    - `scale ()`: inputs are multiplied by it, so that coefficients do not depend on the units of a site.
      `fold` moves it into the weights;
    - `kind`: the settings, a `Kind`. The dictionary has them as attributes too: `sae.k` is `sae.kind.k`;
    - `origin`: the site and the model that it was trained on, or None.

    ```python
    sae = ji.sae.load("tiny")
    f = sae.encode(x)                                   # (..., features)
    jnp.square(x - sae.decode(f)).mean(), sae.kind_name, sae.features
    ```
    """

    encoder: JaxArray
    encoder_bias: JaxArray
    decoder: JaxArray
    bias: JaxArray
    scale: JaxArray
    kind: AnyKind
    origin: Any = eqx.field(static=True, default=None, kw_only=True)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "kind":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.kind, name)

    @property
    def d(self) -> int:
        """The width of the rows that it reads."""
        return self.encoder.shape[-2]

    @property
    def features(self) -> int:
        """The number of features."""
        return self.encoder.shape[-1]

    @property
    def kind_name(self) -> str:
        """The name of its kind, as "TopK"."""
        return type(self.kind).__name__

    def replace(self, **fields: Any) -> Self:
        """The same dictionary with other arrays or another kind, by name."""
        return dataclasses.replace(self, **fields)

    def with_origin(self, origin: tuple[str | None, str | None] | None) -> Self:
        """The same dictionary with another `Origin`; one that says nothing becomes None."""
        return self.replace(origin=origin if origin is not None and any(origin) else None)

    def check(self, x: JaxArray) -> None:
        """Raises ValueError where x is not as wide as the weights."""
        if not x.ndim or x.shape[-1] != self.d:
            raise ValueError(
                f"This {self.kind_name} reads activations of width d={self.d}, the last axis; "
                f"got the shape {x.shape}."
            )

    def product(self, a: JaxArray, b: JaxArray) -> JaxArray:
        """$a b$ over the last axis of a and the first of b, in the kind's `matmul` dtype, summed in float32."""
        return product(a, b, self.kind.matmul)

    def encoded(self, x: JaxArray, bias: JaxArray) -> JaxArray:
        """x times the encoder, less `bias (d,)` first where the kind is `centred`."""
        if self.kind.centred:
            return centred_product(x, bias, self.encoder, self.kind.matmul)
        return self.product(x, self.encoder)

    def pre(self, x: JaxArray) -> JaxArray:
        """Pre-activations `(..., features)` of x `(..., d)`."""
        pre = self.encoded(x * self.scale, self.bias)
        return pre + align(self.encoder_bias, pre)

    @abc.abstractmethod
    def activate(self, pre: JaxArray) -> JaxArray:
        """Features of pre-activations, row by row, as at inference."""

    def encode(self, x: ArrayLike) -> JaxArray:
        """Features `(..., features)` of activations `(..., d)`."""
        x = jnp.asarray(x)
        self.check(x)
        return self.activate(self.pre(x)).astype(x.dtype)

    def decode(self, f: ArrayLike, x: ArrayLike | None = None) -> JaxArray:
        """Activations `(..., d)` of features `(..., features)`; `x` is not needed."""
        f = jnp.asarray(f)
        return (self.reconstruct(f) / self.scale).astype(f.dtype)

    def reconstruct(self, f: JaxArray) -> JaxArray:
        """$f W_d + b$, in scaled units."""
        return self.shifted(self.product(f, self.decoder))

    def shifted(self, decoded: JaxArray) -> JaxArray:
        """$f W_d + b$, of the product."""
        return decoded + align(self.bias, decoded)

    def fold(self) -> Self:
        """The same function with `scale` 1: the weights are then in the units of the site.

        Law: `fold()(x)` is `self(x)`, and so are the features.
        """
        return self.replace(
            encoder=self.encoder * self.scale,
            decoder=self.decoder / self.scale,
            bias=self.bias / self.scale,
            scale=jnp.ones_like(self.scale),
        )

    def directions(self) -> JaxArray:
        """$d_i / s$ `(features, d_out)` in float32."""
        return self.decoder.astype(jnp.float32) / self.scale

    def source_rows(self) -> JaxArray | None:
        """What each feature writes to each source `(features, source, d)`, in their units; None for one site."""
        return None

    # What training asks of a dictionary.

    def fixed(self) -> tuple[str, ...]:
        """The names of its arrays that no gradient trains."""
        return ("scale",)

    def trainable(self) -> Self:
        """A tree of bools: True at the arrays that gradients train. Numbers of the kind are False."""
        flags = jax.tree.map(lambda _: True, self)
        kind = jax.tree.map(lambda _: False, self.kind)
        return flags.replace(kind=kind, **dict.fromkeys(self.fixed(), False))

    def start(self, key: KeyLike, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Self:
        """The dictionary with which a training begins: this one, with its weights."""
        return self

    def loss(self, x: JaxArray, y: JaxArray, now: Progress) -> Losses:
        """The kind's loss of a batch `(batch, d)` and its targets."""
        return Losses.checked(self.kind.loss(self, x, y, now))
