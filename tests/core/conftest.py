"""Small random models of every family, weights large enough that every site matters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

SIZES: dict[str, Any] = {"vocab": 40, "ctx": 16, "layers": 3}
CONFIGS: dict[str, Any] = {
    "gpt2": ji.models.GPT2Config(d=8, heads=2, **SIZES),
    "neox": ji.models.GPTNeoXConfig(d=16, heads=2, rotary_fraction=0.5, **SIZES),
    "llama": ji.models.LlamaConfig(d=16, heads=4, kv_heads=2, ff=24, **SIZES),
    "toy": ji.models.GPT2Config(d=8, heads=2, ff=0, norm=False, tied=False, **SIZES),
    "relu": ji.models.GPT2Config(d=8, heads=2, norm=False, act="relu", causal=False, **SIZES),
}
CLASSES = {
    ji.models.GPT2Config: ji.models.GPT2,
    ji.models.GPTNeoXConfig: ji.models.GPTNeoX,
    ji.models.LlamaConfig: ji.models.Llama,
}


def random_model(config: Any, dtype: Any = jnp.float32) -> Any:
    """A model whose every leaf is random, biases and gains too."""
    cls = CLASSES[type(config)]
    shapes = jax.eval_shape(lambda: cls.init(config, key=jax.random.key(0), dtype=dtype))
    rng = np.random.default_rng(0)
    model = jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), dtype), shapes)
    # Large embeddings, so that what a model says depends on what it read.
    return eqx.tree_at(lambda m: m.w_embed, model, 5 * model.w_embed)


MODELS: dict[str, Any] = {}


def model_of(name: str) -> Any:
    if name not in MODELS:
        MODELS[name] = random_model(CONFIGS[name])
    return MODELS[name]


@pytest.fixture(params=["gpt2", "neox", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    """A model of each family."""
    return model_of(request.param)


@pytest.fixture
def gpt2() -> Any:
    return model_of("gpt2")


@pytest.fixture
def neox() -> Any:
    return model_of("neox")


@pytest.fixture
def tokens() -> jax.Array:
    return jnp.asarray([[1, 7, 3, 7, 3], [9, 2, 39, 0, 5]], jnp.int32)
