"""The small models of `small_models.py`, made once."""

import jax.numpy as jnp
import pytest

from .small_models import CONFIGS, make


@pytest.fixture(scope="session")
def models():
    return {name: make(name) for name in CONFIGS}


@pytest.fixture(scope="session")
def tokens():
    return jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 12, 0]])
