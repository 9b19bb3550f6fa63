"""Small random models of every family, weights large enough that every site matters."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests import models
from tests.models import CONFIGS as CONFIGS
from tests.models import families as families
from tests.models import model_of as model_of


def random_model(config: Any, dtype: Any = jnp.float32) -> Any:
    """Large embeddings, so that what a model says depends on what it read."""
    return models.random_model(config, dtype=dtype, embed=5.0)


@pytest.fixture(params=families("llama"))
def model(request: pytest.FixtureRequest) -> Any:
    """A model of each family: of shared keys and rotary embeddings by default."""
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
