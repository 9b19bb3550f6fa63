"""One small random model of each family; the sizes of its axes differ where they can."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

SIZES: dict[str, Any] = {"vocab": 23, "ctx": 12, "d": 12, "layers": 3, "ff": 10, "k": 6}
CONFIGS: dict[str, Any] = {
    "gpt2": ji.models.GPT2Config(heads=2, **SIZES),
    "neox": ji.models.GPTNeoXConfig(heads=2, rotary_fraction=0.7, **SIZES),
    # Three turned channels of six: an odd number.
    "neox in sequence": ji.models.GPTNeoXConfig(heads=2, rotary_fraction=0.5, parallel=False, **SIZES),
    "llama": ji.models.LlamaConfig(heads=4, kv_heads=2, **SIZES),
}
CLASSES: dict[Any, Any] = {
    ji.models.GPT2Config: ji.models.GPT2,
    ji.models.GPTNeoXConfig: ji.models.GPTNeoX,
    ji.models.LlamaConfig: ji.models.Llama,
}


def numbers_of(name: str) -> Any:
    """The model with float64 NumPy leaves, all random, biases and gains too: what the reference runs."""
    return _numbers(name)


@functools.cache
def _numbers(name: str) -> Any:
    config = CONFIGS[name]
    cls = CLASSES[type(config)]
    shapes = jax.eval_shape(lambda: cls.init(config, key=jax.random.key(0)))
    rng = np.random.default_rng(7)
    model = jax.tree.map(lambda leaf: 0.4 * rng.normal(size=leaf.shape), shapes)
    # Large embeddings, so that what a model says depends on what it read.
    return eqx.tree_at(lambda m: m.w_embed, model, 4 * model.w_embed)


def model_of(name: str) -> Any:
    """The same for the library: float64 where `jax_enable_x64` is on, else float32."""
    return _model(name, bool(jax.config.jax_enable_x64))  # pyright: ignore[reportAttributeAccessIssue]


@functools.cache
def _model(name: str, wide: bool) -> Any:
    dtype = jnp.float64 if wide else jnp.float32
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), numbers_of(name))
