"""The form of one query beside the form of several."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.nn._one_pass import rows
from jaxinterp.nn._one_query import side_by_side


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_heads_side_by_side_are_heads_alone(kv_heads: int) -> None:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    q, k, v = 2 * draw(3, 1, 6, 5), draw(3, 7, kv_heads, 5), draw(3, 7, kv_heads, 5)
    allowed: Any = jnp.asarray(rng.random((3, 1, 7)) < 0.6).at[0, 0].set(False)
    for reads in (allowed, allowed[1], None):
        one, several = side_by_side(q, k, v, reads), rows(q, k, v, reads)
        assert one.shape == several.shape and one.dtype == several.dtype
        np.testing.assert_allclose(one, several, atol=2e-6)
