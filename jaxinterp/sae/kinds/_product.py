r"""Products of a dictionary: in a dtype of few bits forwards and backwards, and encoding without a needless one."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ...typing import JaxArray
from ._rows import align


def product(a: JaxArray, b: JaxArray, dtype: str) -> JaxArray:
    r"""$a b$ over the last axis of a and the first of the matrix b.

    In "float32" it is exact. In "bfloat16" and "float16" both sides are rounded first, in the products of
    the gradient too; sums are in float32, and so is the gradient of b.
    """
    if dtype == "float32":
        return jnp.matmul(a, b, precision="highest")
    return _low(a, b, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _low(a: JaxArray, b: JaxArray, dtype: str) -> JaxArray:
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=a.dtype)


def _low_forward(a: JaxArray, b: JaxArray, dtype: str) -> tuple[JaxArray, Any]:
    few = a.astype(dtype)
    # The weights are rounded again: they are in memory anyway.
    return jnp.matmul(few, b.astype(dtype), preferred_element_type=a.dtype), (few, b, jnp.zeros((), a.dtype))


def _low_backward(dtype: str, saved: Any, g: JaxArray) -> tuple[JaxArray, JaxArray]:
    back, slope = _rounded_backward(dtype, saved, g)
    return back.astype(saved[2].dtype), slope


def _rounded_backward(dtype: str, saved: Any, g: JaxArray) -> tuple[JaxArray, JaxArray]:
    few, b, like = saved
    g = g.astype(dtype)
    # The gradient of a is an operand of a product itself, and is rounded as such.
    back = jnp.matmul(g, b.astype(dtype).T, preferred_element_type=like.dtype).astype(dtype)
    rows = few.reshape(-1, few.shape[-1]), g.reshape(-1, g.shape[-1])
    slope = jax.lax.dot_general(*rows, (((0,), (0,)), ((), ())), preferred_element_type=like.dtype)
    return back, slope.astype(b.dtype)


_low.defvjp(_low_forward, _low_backward)


def products_of_parts(
    a: JaxArray, b: JaxArray, ends: tuple[int, ...], dtype: str, source: JaxArray | None = None
) -> tuple[JaxArray, ...]:
    r"""$a_{[s, e)} b_{[s, e)}$ of each part of the last axis of a and the first of b; `ends` are those of the parts.

    `source`: where a is `where(chosen, source, 0)`, the source. The gradient of a goes to it where a is not
    0, in the pass that makes it.

    Law: the values and gradients of `product` of each part.
    """
    if dtype == "float32":
        return tuple(product(a[..., s:e], b[s:e], dtype) for s, e in _parts(ends))
    if source is None:
        return _low_parts(None, a, b, ends, dtype)
    return _low_parts(source, jax.lax.stop_gradient(a), b, ends, dtype)


def _parts(ends: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip((0, *ends[:-1]), ends, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _low_parts(
    source: JaxArray | None, a: JaxArray, b: JaxArray, ends: tuple[int, ...], dtype: str
) -> tuple[JaxArray, ...]:
    return tuple(_low(a[..., s:e], b[s:e], dtype) for s, e in _parts(ends))


def _low_parts_forward(
    source: JaxArray | None, a: JaxArray, b: JaxArray, ends: tuple[int, ...], dtype: str
) -> tuple[Any, Any]:
    mark = None if source is None else ()
    saved = a.astype(dtype), b, jnp.zeros((), a.dtype), mark
    return _low_parts(source, a, b, ends, dtype), saved


def _low_parts_backward(ends: tuple[int, ...], dtype: str, saved: Any, gs: Any) -> Any:
    few, b, like, mark = saved
    is_chosen = mark is not None
    # Joined in few bits and once: the gradients of slices are padded to the whole, and added, each.
    backs, slopes = [], []
    for (s, e), g in zip(_parts(ends), gs, strict=True):
        back, slope = _rounded_backward(dtype, (few[..., s:e], b[s:e], like), g)
        backs.append(jnp.where(few[..., s:e] != 0, back, 0) if is_chosen else back)
        slopes.append(slope)
    back = jnp.concatenate(backs, -1).astype(like.dtype)
    of_source, of_a = (back, None) if is_chosen else (None, back)
    return of_source, of_a, jnp.concatenate(slopes)


_low_parts.defvjp(_low_parts_forward, _low_parts_backward)


def centred_product(x: JaxArray, bias: JaxArray, weights: JaxArray, dtype: str) -> JaxArray:
    r"""$(x - b) W$: the product of x minus `bias (d,)`, row by row.

    The gradient of the bias is $-W \sum_n g_n$, a product with one vector in place of one with all rows.
    """
    return _centred(x, bias, weights) if dtype == "float32" else _centred_low(x, bias, weights, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _centred_low(x: JaxArray, bias: JaxArray, weights: JaxArray, dtype: str) -> JaxArray:
    return _low(x - align(bias, x), weights, dtype)


def _centred_low_forward(x: JaxArray, bias: JaxArray, weights: JaxArray, dtype: str) -> tuple[JaxArray, Any]:
    return _low_forward(x - align(bias, x), weights, dtype)


def _centred_low_backward(dtype: str, saved: Any, g: JaxArray) -> tuple[JaxArray, JaxArray, JaxArray]:
    weights = saved[1]
    row = jnp.sum(g.reshape(-1, g.shape[-1]), 0, keepdims=True)
    back, slope = _low_backward(dtype, saved, g)
    return back, -jnp.matmul(row, weights.T, precision="highest")[0].astype(weights.dtype), slope


_centred_low.defvjp(_centred_low_forward, _centred_low_backward)


@jax.custom_jvp
def _centred(x: JaxArray, bias: JaxArray, weights: JaxArray) -> JaxArray:
    return jnp.matmul(x - align(bias, x), weights, precision="highest")


def _centred_slope(at: Any, ways: Any) -> tuple[JaxArray, JaxArray]:
    x, bias, weights = at
    dx, dbias, dweights = ways
    is_zero = lambda one: isinstance(one, jax.custom_derivatives.SymbolicZero)
    out = _centred(*at)
    way = jnp.zeros_like(out)
    if not is_zero(dweights):
        way = way + jnp.matmul(x - align(bias, x), dweights, precision="highest")
    if not is_zero(dx):
        way = way + jnp.matmul(dx, weights, precision="highest")
    if not is_zero(dbias):
        row = -jnp.matmul(dbias[None], weights, precision="highest")[0]
        way = way + jnp.broadcast_to(align(row, x), (*x.shape[:-1], len(row)))
    return out, way


_centred.defjvp(_centred_slope, symbolic_zeros=True)
