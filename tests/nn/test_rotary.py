"""Rotary positions beside the formula, channel by channel, for widths even and odd."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp as ji
from jaxinterp.nn import rotary_tables, rotate

pytestmark = pytest.mark.quick


def turned(x: np.ndarray, dim: int, base: float) -> np.ndarray:
    """The reference's rule: channel i pairs with i + n, n = ceil(dim / 2), by base^(-2i/dim)."""
    n, out = -(-dim // 2), x.astype(np.float64)
    for position in range(x.shape[0]):
        for i in range(n):
            a = position * base ** (-2 * i / dim)
            one, two = x[position, :, i].astype(float), x[position, :, i + n].astype(float)
            out[position, :, i] = one * np.cos(a) - two * np.sin(a)
            out[position, :, i + n] = two * np.cos(a) + one * np.sin(a)
    return out


@pytest.mark.parametrize(
    ("k", "fraction"), [(12, 0.25), (20, 0.25), (28, 0.25), (7, 0.8), (5, 0.2), (8, 1.0), (6, 0.1)]
)
def test_rotation_is_the_formula(k: int, fraction: float) -> None:
    config = ji.models.GPTNeoXConfig(vocab=5, ctx=9, d=2 * k, heads=2, layers=1, rotary_fraction=fraction)
    dim = config.rotary_dim
    assert dim == int(k * fraction)
    x = np.random.default_rng(k).normal(size=(9, 2, k)).astype(np.float32)
    tables = rotary_tables(jnp.arange(9), dim, 100.0, dtype=jnp.float32)
    found = rotate(jnp.asarray(x), tables)
    assert found.shape == x.shape
    np.testing.assert_allclose(found, turned(x, dim, 100.0), atol=2e-6)


def test_widths_that_have_no_pairs() -> None:
    sizes = dict(vocab=5, ctx=9, layers=1, heads=1)
    with pytest.raises(ValueError, match=r"a width of 7 takes 8 of them, and a head has k=7"):
        ji.models.GPTNeoXConfig(**sizes, d=7, rotary_fraction=1.0)
    with pytest.raises(ValueError, match="a width of 16 takes 16 of them"):
        ji.models.GPTNeoXConfig(**sizes, d=8, rotary_fraction=2.0)
    yarn = ji.nn.RopeScaling(kind="yarn", factor=2.0, original_ctx=8)
    with pytest.raises(ValueError, match="'yarn' is defined for an even width; this one is 3"):
        ji.models.GPTNeoXConfig(**sizes, d=12, rope=yarn)
    assert ji.models.GPTNeoXConfig(**sizes, d=16, rope=yarn).rotary_dim == 4
