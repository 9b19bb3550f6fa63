"""The largest entries of rows are those of `lax.top_k`, ties and axes included, with no sort of whole rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxinterp.core._top import top_of_rows


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (2, 1, 3, 7)])
def test_they_are_those_of_top_k(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 4, shape).astype(np.float32)
    x = jnp.asarray(x)
    for got, want in zip(top_of_rows(x, 4), lax.top_k(x, 4), strict=True):
        np.testing.assert_array_equal(got, want)


def test_top_k_sees_two_axes() -> None:
    jaxpr = jax.make_jaxpr(lambda x: top_of_rows(x, 2))(jnp.zeros((2, 3, 5)))
    (found,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "top_k"]
    assert found.invars[0].aval.ndim == 2
