"""LayerNorm and RMSNorm that emit their denominator and their output."""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ..core._types import Tap
from ._linear import accumulation_dtype, add_bias, like


class LayerNorm(eqx.Module):
    r"""$y = \dfrac{x - \bar x}{\sqrt{\mathrm{var}(x) + \epsilon}} \odot w + b$ over the last axis.

    The variance is the mean square of $x - \bar x$. `weight` and `bias` are None where a family has none, and
    after `ji.weights.fold_norms` has multiplied them into the matrices that read the output.

    ```python
    norm = ji.nn.LayerNorm.init(16, eps=1e-5, dtype=jnp.float32)
    norm(jax.random.normal(key, (5, 16))).std(-1)       # about 1
    ```
    """

    weight: Float[Array, "*layer d"] | None
    bias: Float[Array, "*layer d"] | None
    eps: float = eqx.field(static=True)

    centres = True

    @staticmethod
    def init(*shape: int, eps: float, dtype: DTypeLike, bias: bool = True) -> "LayerNorm":
        zeros = jnp.zeros(shape, dtype) if bias else None
        return LayerNorm(weight=jnp.ones(shape, dtype), bias=zeros, eps=eps)

    def __call__(
        self, x: Float[Array, "*batch d"], tap: Tap | None = None, site: str = "ln1"
    ) -> Float[Array, "*batch d"]:
        wide = x.astype(accumulation_dtype(x))
        wide = wide - wide.mean(-1, keepdims=True)
        return _finish(self, wide, x.dtype, tap, site)


class RMSNorm(eqx.Module):
    r"""$y = \dfrac{x}{\sqrt{\overline{x^2} + \epsilon}} \odot w$ over the last axis.

    Zhang and Sennrich 2019 (https://arxiv.org/abs/1910.07467).

    ```python
    norm = ji.nn.RMSNorm.init(16, eps=1e-6, dtype=jnp.float32)
    norm(jax.random.normal(key, (5, 16)))
    ```
    """

    weight: Float[Array, "*layer d"] | None
    eps: float = eqx.field(static=True)
    bias: None = None

    centres = False

    @staticmethod
    def init(*shape: int, eps: float, dtype: DTypeLike) -> "RMSNorm":
        return RMSNorm(weight=jnp.ones(shape, dtype), eps=eps)

    def __call__(
        self, x: Float[Array, "*batch d"], tap: Tap | None = None, site: str = "ln1"
    ) -> Float[Array, "*batch d"]:
        return _finish(self, x.astype(accumulation_dtype(x)), x.dtype, tap, site)


Norm = LayerNorm | RMSNorm


def _finish(norm: Norm, wide: Array, dtype: DTypeLike, tap: Tap | None, site: str) -> Array:
    scale = jnp.sqrt(jnp.square(wide).mean(-1, keepdims=True) + norm.eps)
    if tap is not None:
        scale = tap(f"{site}_scale", scale)
    y = (wide / scale).astype(dtype)
    if norm.weight is not None:
        y = y * like(norm.weight, y)
    y = add_bias(y, norm.bias)
    return y if tap is None else tap(f"{site}_out", y)
