r"""Attention in one kernel for GPU: cuDNN's, through `jax.nn.dot_product_attention`.

It takes half precision and cards from compute capability 8.0 on (A100, L4, H100). Which keys are padding goes to it as
a bias `(batch, 1, query, key)`, so prompts with a mask take it up to a size alone.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NEEDED = 8.0
"The compute capability from which on cuDNN has the kernel."
CHUNK_BYTES = 2**27
"Bytes of scores that a chunk of the plain form may hold: a GPU is idle in smaller ones."
BIAS_BYTES = 2**28
"Bytes of a bias that says which keys are padding."
IMPLEMENTATION = "cudnn"


def suits(q: Float[Array, "*batch query head k"], real: Bool[Array, "*batch key"] | None) -> bool:
    """Whether the cards of this process run the kernel for such queries."""
    width = q.shape[-1]
    half = q.dtype in (jnp.bfloat16, jnp.float16) and width % 8 == 0 and width <= 128
    bias = 0 if real is None else real.size * q.shape[-3] * q.dtype.itemsize
    return half and bias <= BIAS_BYTES and _has_card()


def _has_card() -> bool:
    """False too where a program is lowered for a card that is not here."""
    from jax.extend.backend import get_backend

    try:
        devices = get_backend("cuda").local_devices()
    except RuntimeError:
        return False
    capabilities = [str(getattr(device, "compute_capability", "0")) for device in devices]
    return bool(capabilities) and all(float(one) >= NEEDED for one in capabilities)


def attention(
    q: Float[Array, "*batch query head k"],
    k: Float[Array, "*batch key kv_head k"],
    v: Float[Array, "*batch key kv_head k"],
    real: Bool[Array, "*batch key"] | None,
    z: Float[Array, "*batch query head k"] | None = None,
    *,
    causal: bool,
) -> tuple[Float[Array, "..."], ...]:
    """The values that scaled queries read; with a cotangent `z`, those of queries, keys and values."""
    batch = q.shape[:-3]
    join = lambda x: x.reshape(math.prod(batch), *x.shape[-3:])
    allowed = None
    if real is not None:
        rows = real.reshape(math.prod(batch), 1, 1, real.shape[-1])
        allowed = jnp.broadcast_to(rows, (*rows.shape[:2], q.shape[-3], rows.shape[-1]))

    def mix(q: Array, k: Array, v: Array) -> Array:
        return jax.nn.dot_product_attention(
            q, k, v, mask=allowed, scale=1.0, is_causal=causal, implementation=IMPLEMENTATION
        )

    part = lambda x: x.reshape(*batch, *x.shape[1:])
    qkv = join(q), join(k), join(v)
    if z is None:
        return (part(mix(*qkv)),)
    return tuple(part(x) for x in jax.vjp(mix, *qkv)[1](join(z)))
