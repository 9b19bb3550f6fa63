"""A small random model, and rows of tokens padded on the right."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji

CONFIG = ji.models.GPT2Config(vocab=40, ctx=8, layers=3, d=8, heads=2)


@pytest.fixture(scope="package")
def model() -> Any:
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(CONFIG, key=jax.random.key(0)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), jnp.float32), shapes)


@pytest.fixture(scope="package")
def padded() -> tuple[np.ndarray, np.ndarray]:
    """Tokens `(7, 6)` and their mask, rows of 6, 3, 4, 6, 2, 5 and 1 tokens."""
    tokens = np.random.default_rng(1).integers(1, 40, (7, 6), dtype=np.int32)
    return tokens, np.arange(6) < np.asarray([6, 3, 4, 6, 2, 5, 1])[:, None]
