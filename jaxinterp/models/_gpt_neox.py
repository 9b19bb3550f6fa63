"""GPT-NeoX, the architecture of Pythia: rotary positions, attention and MLP side by side.

Black et al. 2022 (https://arxiv.org/abs/2204.06745); Pythia, Biderman et al. 2023
(https://arxiv.org/abs/2304.01373). The MLP of a parallel block does not see the same block's
attention: there is no edge from a head to the MLP beside it.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ..core._check import check_key, logit_count
from ..core._types import Tap
from ..nn import MLP, Attention, Block, LayerNorm, RopeScaling, embed, rotary_tables, unembed
from ..nn._rotary import RopeTables, check_rotary
from ._config import Config, normal


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTNeoXConfig(Config):
    """Sizes and options of GPT-NeoX: those of `Config`, and

    - `rotary_fraction`, `rotary_base`, `rope`: the share of the channels of a head that rotary turns, the base of its
      frequencies, and their scaling.
    - `parallel`: whether attention and MLP of a block read the same residual stream.
    - `bias`: False leaves out all biases; `attention_bias`, `mlp_bias` and `norm_bias` those of one kind of part.
    - `tied`: whether the unembedding is the transposed embedding.

    ```python
    config = ji.models.GPTNeoXConfig(vocab=50, ctx=16, d=16, layers=2, heads=2, rotary_fraction=0.5)
    ```
    """

    rotary_fraction: float = 0.25
    rotary_base: float = 10000.0
    rope: RopeScaling | None = None
    parallel: bool = True
    bias: bool = True
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    tied: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rotary(self.k, self.rotary_dim, self.rope)

    @property
    def rotary_dim(self) -> int:
        """The number of channels that rotary turns. If it is odd, one channel more is turned, to make a pair."""
        return int(self.k * self.rotary_fraction)


class GPTNeoX(eqx.Module):
    """GPT-NeoX with named sites.

    ```python
    config = ji.models.GPTNeoXConfig(vocab=50, ctx=16, d=8, layers=2, heads=2)
    model = ji.models.GPTNeoX.init(config, key=jax.random.key(0))
    logits, acts = ji.run(model, jnp.arange(5), capture=["q_rot[1]"])
    ```
    """

    w_embed: Float[Array, "vocab d"]
    blocks: Block
    ln_final: LayerNorm | None
    w_unembed: Float[Array, "d vocab_out"] | None
    b_unembed: Float[Array, " vocab_out"] | None
    config: GPTNeoXConfig = eqx.field(static=True)

    @staticmethod
    def init(config: GPTNeoXConfig, *, key: jax.Array, dtype: DTypeLike = jnp.float32) -> "GPTNeoX":
        """A model with random weights: deviation 0.02, biases zero, gains one.

        **Arguments:**

        - `config`: `GPTNeoXConfig`.
        - `key`: a `jax.random.key`.
        - `dtype`: of the weights; float32 by default.
        """
        c = config
        keys = jax.random.split(check_key(key, "GPTNeoX.init(config, key={})"), 4)

        def norm(*shape: int) -> LayerNorm | None:
            if not c.norm:
                return None
            bias = c.bias and c.norm_bias
            return LayerNorm.init(*shape, eps=c.norm_eps, dtype=dtype, bias=bias)

        return GPTNeoX(
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
                    bias=c.bias and c.attention_bias,
                ),
                ln2=norm(c.layers, c.d) if c.ff else None,
                mlp=MLP.init(
                    c.layers,
                    c.d,
                    c.ff,
                    key=keys[2],
                    dtype=dtype,
                    act=c.act,
                    bias=c.bias and c.mlp_bias,
                )
                if c.ff
                else None,
                parallel=c.parallel,
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
        return rotary_tables(positions, c.rotary_dim, c.rotary_base, c.rope, dtype=self.w_embed.dtype)

    def unembed(self, resid: Float[Array, "*batch pos d"], tap: Tap) -> Float[Array, "*batch pos vocab_out"]:
        return unembed(resid, self.ln_final, self.w_unembed, self.w_embed, self.b_unembed, tap)
