"""Models of published shapes as trees of shapes: no weights are made."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxinterp as ji


def gpt2(dtype: Any = jnp.float32, *, ctx: int = 1024, layers: int = 12) -> Any:
    """GPT-2 small, or one with more positions or fewer layers."""
    config = ji.models.GPT2Config(vocab=50257, ctx=ctx, d=768, layers=layers, heads=12)
    return eqx.filter_eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0), dtype=dtype))


PYTHIA = {
    "tiny": (64, 2, 8, 256),
    "410m": (1024, 24, 16, 50304),
    "6.9b": (4096, 32, 32, 50432),
    "12b": (5120, 36, 40, 50688),
}


def pythia(size: str = "410m", dtype: Any = jnp.bfloat16, *, ctx: int = 2048) -> Any:
    """A GPT-NeoX of Pythia's sizes: width, layers, heads and vocabulary by name."""
    d, layers, heads, vocab = PYTHIA[size]
    config = ji.models.GPTNeoXConfig(vocab=vocab, ctx=ctx, d=d, layers=layers, heads=heads)
    return eqx.filter_eval_shape(lambda: ji.models.GPTNeoX.init(config, key=jax.random.key(0), dtype=dtype))


def llama_1b(dtype: Any = jnp.bfloat16, *, ctx: int = 2048, layers: int = 16) -> Any:
    """Llama 3.2 1B: grouped queries, 8 heads of keys for 32 of queries."""
    config = ji.models.LlamaConfig(
        vocab=128256, ctx=ctx, d=2048, layers=layers, heads=32, kv_heads=8, k=64, ff=8192, tied=True
    )
    return eqx.filter_eval_shape(lambda: ji.models.Llama.init(config, key=jax.random.key(0), dtype=dtype))


def tiny(dtype: Any = jnp.float32) -> Any:
    """GPT-2's form at 2 layers of width 64."""
    config = ji.models.GPT2Config(vocab=128, ctx=64, d=64, layers=2, heads=2)
    return eqx.filter_eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0), dtype=dtype))


def block_work(config: Any, pos: int) -> float:
    """Operations of the products of all blocks for one prompt; causal patterns count whole."""
    heads, kv, k = config.heads, config.kv_heads, config.k
    projected = config.d * k * (2 * heads + 2 * kv)
    neurons = (3 if type(config).__name__ == "LlamaConfig" else 2) * config.d * config.ff
    return config.layers * (2.0 * pos * (projected + neurons) + 4.0 * pos * pos * heads * k)


def pass_work(config: Any, batch: int, pos: int, unembedded: int, dtype: Any) -> float:
    """Operations of a pass with so many positions unembedded; float32 counts six times."""
    work = batch * (block_work(config, pos) + 2.0 * unembedded * config.d * config.vocab)
    return work * (6 if jnp.dtype(dtype) == jnp.float32 else 1)
