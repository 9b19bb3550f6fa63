"""Small random models of every family, every leaf random."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

SIZES: dict[str, Any] = {"vocab": 30, "ctx": 12, "layers": 3}
CONFIGS: dict[str, Any] = {
    "gpt2": ji.models.GPT2Config(d=8, heads=2, **SIZES),
    "neox": ji.models.GPTNeoXConfig(d=16, heads=2, rotary_fraction=0.5, **SIZES),
    "llama": ji.models.LlamaConfig(d=16, heads=4, kv_heads=2, ff=24, **SIZES),
    "bare": ji.models.GPT2Config(d=8, heads=2, ff=0, norm=False, tied=False, **SIZES),
}


def random_model(config: Any, seed: int = 0) -> Any:
    """Every leaf random, gains around one, embeddings large."""
    family = getattr(ji.models, type(config).__name__.removesuffix("Config"))
    shapes = jax.eval_shape(lambda: family.init(config, key=jax.random.key(0)))
    paths, tree = jax.tree.flatten_with_path(shapes)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        gain = "ln" in str(path) and "weight" in str(path)
        return jnp.asarray(rng.normal(float(gain), 0.4, leaf.shape), jnp.float32)

    model = jax.tree.unflatten(tree, [draw(path, leaf) for path, leaf in paths])
    return eqx.tree_at(lambda m: m.w_embed, model, 3 * model.w_embed)


MODELS: dict[str, Any] = {}


def model_of(name: str) -> Any:
    if name not in MODELS:
        MODELS[name] = random_model(CONFIGS[name])
    return MODELS[name]


@pytest.fixture
def gpt2() -> Any:
    return model_of("gpt2")


@pytest.fixture
def neox() -> Any:
    return model_of("neox")


@pytest.fixture
def tokens() -> jax.Array:
    return jnp.asarray([[1, 7, 3, 7, 3, 9], [9, 2, 29, 0, 5, 5]], jnp.int32)
