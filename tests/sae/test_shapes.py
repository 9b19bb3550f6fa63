"""Kinds are settings: first weights have shapes without being computed, and `matmul=` reaches every product."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp import sae
from jaxinterp.sae.kinds._losses import Progress
from jaxinterp.sae.kinds._product import centred_product, product

KEY = jax.random.key(0)
KINDS: dict[str, Any] = {
    "TopK": {"k": 4},
    "BatchTopK": {"k": 4},
    "Matryoshka": {"k": 4},
    "JumpReLU": {},
    "Standard": {},
    "Vanilla": {},
    "Gated": {},
    "Transcoder": {"skip": True},
    "Crosscoder": {"sources": 2},
    "CrossLayerTranscoder": {"layers": 2},
}


@pytest.mark.parametrize("name", KINDS)
def test_first_weights_have_shapes_before_they_are_made(name: str) -> None:
    made = eqx.filter_eval_shape(lambda: getattr(sae, name)(d=16, features=64, **KINDS[name]).init(KEY))
    for array, shape in made.kind.shapes().items():
        assert getattr(made, array).shape == shape


def dtypes_of_products(jaxpr: Any) -> set[tuple[str, int]]:
    """The dtype of the first operand of every product of two matrices, and how many rows they share."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (shared, _), _ = equation.params["dimension_numbers"]
            first = equation.invars[0].aval
            rows = first.size // int(np.prod([first.shape[i] for i in shared]))
            found.add((str(first.dtype), rows))
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                found |= dtypes_of_products(inner) if hasattr(inner, "eqns") else set()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_matmul_reaches_every_product(name: str) -> None:
    kind = getattr(sae, name)(d=16, features=64, matmul="bfloat16", **KINDS[name])
    made = eqx.filter_eval_shape(kind.init, KEY)
    x = jax.ShapeDtypeStruct((8, *made.bias.shape[:-1], 16), jnp.float32)
    dead = jax.ShapeDtypeStruct(made.encoder_bias.shape, bool)

    def total(made: Any, x: Any, dead: Any) -> Any:
        return made.loss(x, x, Progress(jnp.int32(0), jnp.float32(1), dead)).total

    jaxpr = eqx.filter_make_jaxpr(eqx.filter_grad(total))(made, x, dead)[0]
    products = dtypes_of_products(jaxpr.jaxpr)
    # A product with one vector, for the gradient of a bias, is exact.
    assert {dtype for dtype, rows in products if rows > 1} == {"bfloat16"}, products


def test_products_in_few_bits_and_their_gradients() -> None:
    rng = np.random.default_rng(0)
    a, b, g = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((6, 5), (5, 7), (6, 7)))
    few = lambda x: np.asarray(x.astype(jnp.bfloat16), np.float64)
    found, back = jax.vjp(lambda a, b: product(a, b, "bfloat16"), a, b)
    np.testing.assert_allclose(found, few(a) @ few(b), atol=1e-5)
    of_a, of_b = back(g)
    np.testing.assert_allclose(of_a, few(g) @ few(b).T, rtol=2**-8)
    np.testing.assert_allclose(of_b, few(a).T @ few(g), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_of_a_bias_needs_no_product_of_rows(dtype: str) -> None:
    rng = np.random.default_rng(1)
    x, bias, weights = (jnp.asarray(rng.normal(size=n), jnp.float32) for n in ((2, 6, 5), (5,), (5, 7)))

    def ours(*given: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(centred_product(*given, dtype)))

    def plain(x: jax.Array, bias: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(product(x - bias[None, None], weights, dtype)))

    close = 1e-5 if dtype == "float32" else 0.1
    for got, want in zip(
        jax.grad(ours, (0, 1, 2))(x, bias, weights), jax.grad(plain, (0, 1, 2))(x, bias, weights), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=close)
    if dtype == "float32":  # forwards too
        ways = x, bias, weights
        np.testing.assert_allclose(jax.jvp(ours, ways, ways)[1], jax.jvp(plain, ways, ways)[1], rtol=1e-5)
