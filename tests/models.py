"""Small random models, made once for all tests: of few shapes, so that tests share compiled programs.

Every leaf is drawn by NumPy, which compiles nothing, and no leaf is zero or one by luck.
"""

import functools
from collections.abc import Sequence
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
FAMILIES = ("gpt2", "neox", "llama")
SMALL = ji.models.GPT2Config(vocab=40, ctx=16, layers=2, d=8, heads=2)
"""What stands in for a model where its family makes no difference: dictionaries, stores, neurons."""


EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
"""Marks of what repeats a law that other tests of `.ci/run` check: by hand, `pytest -m exhaustive`."""


def families(*default: str) -> list[Any]:
    """Parameters of a test over every family: the default suite runs those named, where one speaks for all."""
    return [name if name in default else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]


def sampled(*default: Any, slow: Sequence[Any] = (), exhaustive: Sequence[Any] = ()) -> list[Any]:
    """Parameters of a test: those of the default suite, those of `slow`, and those that are left to the hand."""
    marks = [((), default), (pytest.mark.slow, slow), (EXHAUSTIVE, exhaustive)]
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
        for mark, cases in marks
        for case in cases
    ]


@functools.cache
def shapes_of(config: Any, dtype: Any = jnp.float32) -> Any:
    """The leaves of a model of this config, as shapes."""
    family = getattr(ji.models, type(config).__name__.removesuffix("Config"))
    return eqx.filter_eval_shape(lambda key: family.init(config, key=key, dtype=dtype), jax.random.key(0))


def random_model(
    config: Any,
    *,
    seed: int = 0,
    dtype: Any = jnp.float32,
    scale: float = 0.4,
    gain: float = 0.0,
    embed: float = 1.0,
) -> Any:
    """A model whose every leaf is normal with deviation `scale`, biases and gains too.

    Args:
        config: Of any family.
        seed: Of NumPy's generator.
        dtype: Of the leaves.
        scale: Deviation of every leaf.
        gain: Mean of the gains of norms.
        embed: Factor of the embedding; above one, what a model predicts depends on what it reads.
    """
    paths, tree = jax.tree.flatten_with_path(shapes_of(config, dtype))
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        name = jax.tree_util.keystr(path)
        mean = gain if "ln" in name and "weight" in name else 0.0
        factor = embed if name.endswith("w_embed") else 1.0
        return jnp.asarray(factor * rng.normal(mean, scale, leaf.shape), dtype)

    return jax.tree.unflatten(tree, [draw(path, leaf) for path, leaf in paths])


@functools.cache
def model_of(name: str) -> Any:
    """The model of a name in `CONFIGS`, the same object every time."""
    return random_model(CONFIGS[name], embed=5.0)


@functools.cache
def small_model(seed: int = 0) -> Any:
    """A model of `SMALL` with large weights."""
    return random_model(SMALL, seed=seed, scale=0.5)


def zeros_of(config: Any) -> Any:
    """A model whose every leaf is zero, to plant known ones in."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), shapes_of(config))
