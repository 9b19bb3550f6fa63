"""Small models of every family and option, every leaf random: nothing is one or zero by luck."""

import jax.numpy as jnp

import jaxinterp as ji
from tests.models import random_model

SIZE = dict(vocab=13, ctx=8, d=8, layers=2, heads=4)

CONFIGS = {
    "gpt2": ji.models.GPT2Config(**SIZE),
    "gpt2 untied, scaled by layer": ji.models.GPT2Config(**SIZE, tied=False, scale_by_layer=True, ff=12),
    "neox": ji.models.GPTNeoXConfig(**SIZE, rotary_fraction=1.0),
    "neox sequential": ji.models.GPTNeoXConfig(**SIZE, parallel=False, attention_bias=False, tied=True),
    "llama": ji.models.LlamaConfig(**SIZE, kv_heads=2, ff=12),
    "llama with biases": ji.models.LlamaConfig(
        **SIZE, kv_heads=1, ff=12, attention_bias=True, mlp_bias=True, tied=True
    ),
    "attention only": ji.models.GPT2Config(**SIZE, ff=0),
    "no norm": ji.models.GPTNeoXConfig(**SIZE, norm=False),
}


def make(name, dtype=jnp.float32, std=0.3):
    """Drawn by NumPy: nothing to compile. Gains lie around one, all else around zero."""
    return random_model(CONFIGS[name], dtype=dtype, scale=std, gain=1.0)
