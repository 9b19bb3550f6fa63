"""Small random models for patching: of every family, and linear ones."""

import functools
from typing import Any

import jax.numpy as jnp

import jaxinterp as ji
from tests.models import random_model

SIZES: dict[str, Any] = {"vocab": 40, "ctx": 16, "layers": 2}
CONFIGS: dict[str, Any] = {
    "gpt2": ji.models.GPT2Config(d=8, heads=2, ff=12, **SIZES),
    "neox": ji.models.GPTNeoXConfig(d=8, heads=2, ff=12, rotary_fraction=0.5, **SIZES),
    "llama": ji.models.LlamaConfig(d=8, heads=4, kv_heads=2, ff=12, **SIZES),
    "linear gpt2": ji.models.GPT2Config(d=8, heads=2, ff=12, norm=False, act="linear", tied=False, **SIZES),
    "linear neox": ji.models.GPTNeoXConfig(
        d=8, heads=2, ff=12, norm=False, act="linear", rotary_fraction=0.5, **SIZES
    ),
    "attention": ji.models.LlamaConfig(d=8, heads=4, kv_heads=2, ff=0, norm=False, **SIZES),
    "scaled": ji.models.GPT2Config(d=8, heads=2, ff=0, norm=False, tied=False, scale_by_layer=True, **SIZES),
}

CLEAN = jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 19, 0, 5]], jnp.int32)
CORRUPT = jnp.asarray([[1, 8, 3, 7, 4], [9, 2, 18, 1, 5]], jnp.int32)
MASK = jnp.asarray([[True] * 5, [False, True, True, True, True]])
METRIC = ji.metrics.logit_diff(jnp.asarray([3, 4]), jnp.asarray([5, 6]))


@functools.cache
def model_of(name: str) -> Any:
    """A model whose every leaf is random, with large embeddings: what it says depends on the words."""
    return random_model(CONFIGS[name], seed=1, embed=3.0)


def frozen_patterns(model: Any, tokens: Any) -> Any:
    """The model with the patterns that it has on `tokens`: linear, if nothing else is not."""
    _, acts = ji.run(model, tokens, capture=["pattern"], logits=False)
    return ji.intervene(model, [ji.replace("pattern", acts["pattern"])])
