"""Matrix products and biases, with the precision and the broadcasting spelled out."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped


def einsum(
    pattern: str, *operands: Float[Array, "..."], dtype: DTypeLike | None = None
) -> Float[Array, "..."]:
    """`jnp.einsum` with float32 products in full precision on every device.

    By default GPUs and TPUs multiply float32 in a lower precision, which is enough to change
    a patching result. Products of a lower dtype stay as fast as before.

    **Arguments:**

    - `pattern`, `operands`: as in `jnp.einsum`.
    - `dtype`: the dtype of the result; by default that of the operands.

    ```python
    ji.nn.einsum("...pd,dk->...pk", jnp.ones((5, 8)), jnp.ones((8, 2)))
    ```
    """
    exact = operands[0].dtype in (jnp.float32, jnp.float64)
    precision = lax.Precision.HIGHEST if exact else None
    return jnp.einsum(pattern, *operands, precision=precision, preferred_element_type=dtype)


def like(value: Shaped[Array, "..."], x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """`value` broadcast to the shape of `x`: rank promotion is an error here, so it is written."""
    return jnp.broadcast_to(value, x.shape)


def add_bias(x: Float[Array, "..."], bias: Float[Array, "..."] | None) -> Float[Array, "..."]:
    """`x + bias` over the trailing axes of `x`; None is no bias."""
    return x if bias is None else x + like(bias, x)


def accumulation_dtype(x: Float[Array, "..."]) -> jnp.dtype:
    """float32, or float64 for float64 input: where norms, softmax and losses are computed."""
    return np.promote_types(x.dtype, np.float32)
