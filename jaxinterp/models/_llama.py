"""Llama: RMSNorm, rotary positions, grouped-query attention, a gated MLP, no biases.

Touvron et al. 2023 (https://arxiv.org/abs/2302.13971). SmolLM, TinyLlama, Mistral-like and many
other checkpoints share this architecture.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ..core._check import check_key, logit_count
from ..core._types import Tap
from ..nn import MLP, Attention, Block, RMSNorm, RopeScaling, embed, rotary_tables, unembed
from ..nn._rotary import RopeTables
from ._config import Config, normal


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig(Config):
    """Sizes and options of Llama: those of `Config`, and

    - `kv_heads`: fewer than `heads` make grouped-query attention.
    - `rotary_base`, `rope`: the base of rotary frequencies, and their scaling.
    - `attention_bias`, `mlp_bias`: whether there are biases; False by default.
    - `tied`: whether the unembedding is the transposed embedding.

    ```python
    config = ji.models.LlamaConfig(vocab=50, ctx=16, d=16, layers=2, heads=4, kv_heads=2)
    ```
    """

    act: str = "silu"
    norm_eps: float = 1e-6
    rotary_base: float = 10000.0
    rope: RopeScaling | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k % 2:
            raise ValueError(f"Rotary turns pairs of channels: k={self.k} must be even.")


class Llama(eqx.Module):
    """Llama with named sites.

    ```python
    config = ji.models.LlamaConfig(vocab=50, ctx=16, d=16, layers=2, heads=4, kv_heads=2, ff=24)
    model = ji.models.Llama.init(config, key=jax.random.key(0))
    logits, acts = ji.run(model, jnp.arange(5), capture=["mlp_post"])
    ```
    """

    w_embed: Float[Array, "vocab d"]
    blocks: Block
    ln_final: RMSNorm | None
    w_unembed: Float[Array, "d vocab_out"] | None
    b_unembed: Float[Array, " vocab_out"] | None
    config: LlamaConfig = eqx.field(static=True)

    @staticmethod
    def init(config: LlamaConfig, *, key: jax.Array, dtype: DTypeLike = jnp.float32) -> "Llama":
        """A model with random weights: deviation 0.02, gains one.

        **Arguments:**

        - `config`: `LlamaConfig`.
        - `key`: a `jax.random.key`.
        - `dtype`: of the weights; float32 by default.
        """
        c = config
        keys = jax.random.split(check_key(key, "Llama.init(config, key={})"), 4)

        def norm(*shape: int) -> RMSNorm | None:
            return RMSNorm.init(*shape, eps=c.norm_eps, dtype=dtype) if c.norm else None

        return Llama(
            w_embed=normal(keys[0], c.vocab, c.d, dtype=dtype),
            blocks=Block(
                ln1=norm(c.layers, c.d),
                attn=Attention.init(
                    c.layers,
                    c.d,
                    c.heads,
                    c.kv_heads,
                    c.k,
                    key=keys[1],
                    dtype=dtype,
                    bias=c.attention_bias,
                ),
                ln2=norm(c.layers, c.d) if c.ff else None,
                mlp=MLP.init(
                    c.layers,
                    c.d,
                    c.ff,
                    key=keys[2],
                    dtype=dtype,
                    act=c.act,
                    gated=True,
                    bias=c.mlp_bias,
                )
                if c.ff
                else None,
            ),
            ln_final=norm(c.d),
            w_unembed=None if c.tied else normal(keys[3], c.d, logit_count(c), dtype=dtype),
            b_unembed=None,
            config=c,
        )

    def embed(
        self,
        tokens: Int[Array, "*batch pos"] | Float[Array, "*batch pos d"],
        positions: Int[Array, "*shared pos"],
        tap: Tap,
    ) -> Float[Array, "*batch pos d"]:
        return embed(self.w_embed, tokens, tap)

    def tables(self, positions: Int[Array, "*shared pos"]) -> RopeTables:
        c = self.config
        return rotary_tables(positions, c.k, c.rotary_base, c.rope, dtype=self.w_embed.dtype)

    def unembed(self, resid: Float[Array, "*batch pos d"], tap: Tap) -> Float[Array, "*batch pos vocab_out"]:
        return unembed(resid, self.ln_final, self.w_unembed, self.w_embed, self.b_unembed, tap)
