"""GPT-2: learned positions, LayerNorm, sequential blocks, an unembedding tied to the embedding.

Radford et al. 2019 (https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf).
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ..core._check import check_key, logit_count
from ..core._types import Tap
from ..nn import MLP, Attention, Block, LayerNorm, embed, unembed
from ._config import Config, normal


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT2Config(Config):
    """Sizes and options of GPT-2: those of `Config`, and

    - `scale_scores`, `scale_by_layer`: whether scores are divided by $\\sqrt{k}$, and by the number of the layer plus 1.
    - `tied`: whether the unembedding is the transposed embedding.
    - `bias`: False leaves out all biases; `attention_bias`, `mlp_bias` and `norm_bias` those of one kind of part.

    ```python
    config = ji.models.GPT2Config(vocab=50, ctx=16, d=8, layers=2, heads=2, ff=0)  # attention only
    ```
    """

    act: str = "gelu_new"
    scale_scores: bool = True
    scale_by_layer: bool = False
    tied: bool = True
    bias: bool = True
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True


class GPT2(eqx.Module):
    """GPT-2 with named sites.

    ```python
    config = ji.models.GPT2Config(vocab=50, ctx=16, d=8, layers=2, heads=2)
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    logits, acts = ji.run(model, jnp.arange(5), capture=["pattern"])
    ```
    """

    w_embed: Float[Array, "vocab d"]
    w_pos: Float[Array, "ctx d"]
    blocks: Block
    ln_final: LayerNorm | None
    w_unembed: Float[Array, "d vocab_out"] | None
    b_unembed: Float[Array, " vocab_out"] | None
    config: GPT2Config = eqx.field(static=True)

    @staticmethod
    def init(config: GPT2Config, *, key: jax.Array, dtype: DTypeLike = jnp.float32) -> "GPT2":
        """A model with random weights: deviation 0.02, biases zero, gains one.

        **Arguments:**

        - `config`: `GPT2Config`.
        - `key`: a `jax.random.key`.
        - `dtype`: of the weights; float32 by default.
        """
        c = config
        keys = jax.random.split(check_key(key, "GPT2.init(config, key={})"), 5)

        def norm(*shape: int) -> LayerNorm | None:
            if not c.norm:
                return None
            bias = c.bias and c.norm_bias
            return LayerNorm.init(*shape, eps=c.norm_eps, dtype=dtype, bias=bias)

        return GPT2(
            w_embed=normal(keys[0], c.vocab, c.d, dtype=dtype),
            w_pos=normal(keys[1], c.ctx, c.d, dtype=dtype),
            blocks=Block(
                ln1=norm(c.layers, c.d),
                attn=Attention.init(
                    c.layers,
                    c.d,
                    c.heads,
                    c.kv_heads,
                    c.k,
                    key=keys[2],
                    dtype=dtype,
                    bias=c.bias and c.attention_bias,
                    scale=None if c.scale_scores else 1.0,
                    scale_by_layer=c.scale_by_layer,
                ),
                ln2=norm(c.layers, c.d) if c.ff else None,
                mlp=MLP.init(
                    c.layers,
                    c.d,
                    c.ff,
                    key=keys[3],
                    dtype=dtype,
                    act=c.act,
                    bias=c.bias and c.mlp_bias,
                )
                if c.ff
                else None,
            ),
            ln_final=norm(c.d),
            w_unembed=None if c.tied else normal(keys[4], c.d, logit_count(c), dtype=dtype),
            b_unembed=None,
            config=c,
        )

    def embed(
        self,
        tokens: Int[Array, "*batch pos"] | Float[Array, "*batch pos d"],
        positions: Int[Array, "*shared pos"],
        tap: Tap,
    ) -> Float[Array, "*batch pos d"]:
        x = embed(self.w_embed, tokens, tap)
        return x + tap("pos_embed", jnp.broadcast_to(self.w_pos[positions], x.shape))

    def tables(self, positions: Int[Array, "*shared pos"]) -> None:
        return None

    def unembed(self, resid: Float[Array, "*batch pos d"], tap: Tap) -> Float[Array, "*batch pos vocab_out"]:
        return unembed(resid, self.ln_final, self.w_unembed, self.w_embed, self.b_unembed, tap)
