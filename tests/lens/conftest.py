"""Small random models of every family, every leaf random."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests import models

CONFIGS: dict[str, Any] = {**models.CONFIGS, "bare": models.CONFIGS["toy"]}


def random_model(config: Any, seed: int = 0) -> Any:
    """Every leaf random, gains around one, embeddings large."""
    return models.random_model(config, seed=seed, gain=1.0, embed=3.0)


@functools.cache
def model_of(name: str) -> Any:
    return random_model(CONFIGS[name])


@pytest.fixture
def gpt2() -> Any:
    return model_of("gpt2")


@pytest.fixture
def neox() -> Any:
    return model_of("neox")


@pytest.fixture
def tokens() -> jax.Array:
    return jnp.asarray([[1, 7, 3, 7, 3, 9], [9, 2, 39, 0, 5, 5]], jnp.int32)
