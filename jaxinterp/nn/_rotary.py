"""Rotary position embeddings: queries and keys are turned by an angle that grows with position.

RoFormer, Su et al. 2021 (https://arxiv.org/abs/2104.09864). Pairs are the two halves of the first
`dim` channels of a head, as GPT-NeoX and Llama checkpoints of Hugging Face store them. An odd `dim`
(a quarter of a head of 20 channels) turns one channel more, with `dim` itself in the exponent.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from .._read import check_fields, integer, number

_RULES = {
    "factor": number(0, above=True),
    "original_ctx": integer(0),
    "low_freq_factor": number(0),
    "high_freq_factor": number(0, above=True),
    "beta_fast": number(0, above=True),
    "beta_slow": number(0, above=True),
}

RopeTables = tuple[Float[Array, "*shared pos pair"], Float[Array, "*shared pos pair"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are changed for contexts longer than those of the first training.

    `kind` is "linear" (all frequencies are divided by `factor`), "llama3" (low frequencies are divided,
    high ones stay, with a ramp between) or "yarn" (Peng et al. 2023, https://arxiv.org/abs/2309.00071).

    ```python
    rope = ji.nn.RopeScaling(kind="llama3", factor=8.0, original_ctx=8192)
    config = ji.models.LlamaConfig(vocab=50, ctx=16, d=16, layers=2, heads=4, rope=rope)
    ```
    """

    kind: str
    factor: float
    original_ctx: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        check_fields(self, _RULES)
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ValueError(f"Rotary scaling is 'linear', 'llama3' or 'yarn'; got kind={self.kind!r}.")
        if self.kind != "linear" and self.original_ctx <= 0:
            raise ValueError(
                f"Rotary scaling {self.kind!r} needs the context of the first training: "
                "RopeScaling(kind=..., factor=..., original_ctx=8192)."
            )
        if not self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                "Rotary scaling goes from low_freq_factor up to high_freq_factor; got "
                f"{self.low_freq_factor} and {self.high_freq_factor}."
            )


def check_rotary(k: int, dim: int, scaling: RopeScaling | None) -> None:
    """Whether heads of `k` channels have the pairs that rotary of width `dim` turns."""
    turned = dim + dim % 2
    if not 0 <= turned <= k:
        raise ValueError(
            f"Rotary turns pairs of channels: a width of {dim} takes {turned} of them, and a head "
            f"has k={k}. Give an even k, or a smaller part of it (rotary_fraction)."
        )
    if dim % 2 and scaling is not None and scaling.kind == "yarn":
        raise ValueError(
            f"Rotary scaling 'yarn' is defined for an even width; this one is {dim} (of heads of "
            f"{k} channels). Choose a rotary_fraction that makes it even."
        )


def frequencies(dim: int, base: float, scaling: RopeScaling | None = None) -> tuple[np.ndarray, float]:
    r"""$\omega_i = b^{-2i/R}$ for $2i < R$, stretched by `scaling`; and the factor on cos and sin."""
    omega = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if scaling is None:
        return omega, 1.0
    stretched = omega / scaling.factor
    if scaling.kind == "linear":
        return stretched, 1.0
    if scaling.kind == "llama3":
        turns = scaling.original_ctx * omega / (2 * np.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        keep = np.clip((turns - low) / (high - low), 0.0, 1.0)
        return keep * omega + (1 - keep) * stretched, 1.0

    def pair_with(turns: float) -> float:
        return dim * math.log(scaling.original_ctx / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_with(scaling.beta_fast), pair_with(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    ramp = (np.arange(dim // 2) - first) / max(last - first, 0.001)
    keep = 1 - np.clip(ramp, 0.0, 1.0)
    attention = scaling.attention_factor
    if attention is None:
        attention = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
    return keep * omega + (1 - keep) * stretched, attention


def rotary_tables(
    positions: Int[Array, "*shared pos"],
    dim: int,
    base: float,
    scaling: RopeScaling | None = None,
    *,
    dtype: DTypeLike,
) -> RopeTables:
    r"""$\cos(p\,\omega_i), \sin(p\,\omega_i)$, each `(*batch pos pair)`, computed once per run.

    Angles are float32, as in the code with which the checkpoints were trained: at position 2,000 the rounding of
    an angle changes logits, and more precise angles would be another model. A float64 model gets
    float64 angles.

    **Arguments:**

    - `positions`: ints `(*shared, pos)`.
    - `dim`: number of rotated channels of a head.
    - `base`: base of the frequencies, such as 10,000.
    - `scaling`: a `RopeScaling`; none by default.
    - `dtype`: the dtype of the model.

    ```python
    cos, sin = ji.nn.rotary_tables(jnp.arange(5), 8, 10_000.0, dtype=jnp.float32)    # (5, 4) each
    ```
    """
    omega, factor = frequencies(dim, base, scaling)
    wide = np.promote_types(dtype, np.float32)
    angle = jnp.einsum("...p,i->...pi", positions.astype(wide), jnp.asarray(omega, wide), precision="highest")
    return (jnp.cos(angle) * factor).astype(dtype), (jnp.sin(angle) * factor).astype(dtype)


def rotate(x: Float[Array, "*batch pos head k"], tables: RopeTables) -> Float[Array, "*batch pos head k"]:
    r"""$(x_1, x_2) \mapsto (x_1 \cos - x_2 \sin,\; x_2 \cos + x_1 \sin)$ on the pairs of the tables.

    **Arguments:**

    - `x`: queries or keys `(*batch, pos, head, k)`.
    - `tables`: the result of `rotary_tables`.

    ```python
    tables = ji.nn.rotary_tables(jnp.arange(5), 8, 10_000.0, dtype=jnp.float32)
    ji.nn.rotate(jnp.ones((5, 2, 8)), tables)           # (pos, head, k)
    ```

    Law: scores of rotated queries and keys depend on the difference of their positions alone.
    """
    pairs = tables[0].shape[-1]
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    cos, sin = (jnp.broadcast_to(table[..., None, :], first.shape) for table in tables)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
