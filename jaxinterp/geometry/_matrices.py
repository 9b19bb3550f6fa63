"""Activations as matrices of examples: checked at the boundary, centred, in float32 or better."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_numbers, concrete
from ..typing import ArrayLike


def as_floating(value: ArrayLike, name: str) -> Array:
    """Real numbers as an array of JAX: float64 stays so with `jax_enable_x64`, all else is float32."""
    array = as_numbers(value, name)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} holds real numbers; got dtype {array.dtype}.")
    wide = array.dtype == np.float64 or not jnp.issubdtype(array.dtype, jnp.floating)
    found = jnp.asarray(array, jnp.result_type(float) if wide else jnp.float32)
    check_finite(found, name)
    return found


def check_finite(x: Array, name: str) -> None:
    """Raises where a value that can be looked at is NaN or infinite."""
    if concrete(x) and not np.isfinite(numbers := np.asarray(x)).all():
        bad = [int(i) for i in np.argwhere(~np.isfinite(numbers))[0]]
        raise ValueError(
            f"{name} is finite; {name}{bad} is {numbers[tuple(bad)]}. Were activations read at padding, or did "
            f"float16 overflow? Drop such rows from every argument: keep = np.isfinite({name}).all(1)."
        )


def as_matrix(x: ArrayLike, name: str = "x", least: int = 2) -> Float[Array, "n p"]:
    """Activations `(n, p)`, one row for each example, of which there are at least `least`."""
    found = as_floating(x, name)
    if found.ndim != 2 or not found.shape[1]:
        hint = f" One unit alone: {name}[:, None]." if found.ndim == 1 else ""
        if found.ndim > 2:
            hint = f" Many layers: jax.vmap over the leading axis, or {name}.reshape(-1, {name}.shape[-1])."
        raise ValueError(f"{name} is (n, p), a row for each example; got the shape {found.shape}.{hint}")
    if found.shape[0] < least:
        raise ValueError(
            f"{name} has at least {least} rows, one for each example; got {found.shape[0]}. Read more examples: "
            "ji.data.activations(model, tokens, site) has a row for each token."
        )
    return found


def as_matrices(
    x: ArrayLike, y: ArrayLike, least: int = 2
) -> tuple[Float[Array, "n p"], Float[Array, "n q"]]:
    """Activations of the same examples on two sides, of one dtype, each at a scale near 1: no measure of two sides reads it."""
    a, b = as_matrix(x, "x", least), as_matrix(y, "y", least)
    if len(a) != len(b):
        raise ValueError(
            f"A row of x and the same row of y are one example; got {len(a)} rows and {len(b)}. Read both "
            "sides over the same tokens: ji.geometry.similarity(model_a, model_b, corpus) does."
        )
    dtype = np.promote_types(a.dtype, b.dtype)
    return evened(a.astype(dtype)), evened(b.astype(dtype))


def evened(x: Float[Array, "n p"]) -> Float[Array, "n p"]:
    """`x` over the power of two above its largest entry, exactly: squares of very small or large ones leave the range of floats."""
    largest = jax.lax.stop_gradient(jnp.abs(x).max())
    exponent = jnp.clip(jnp.frexp(largest)[1], -100, 126)
    # Twice a half, since the reciprocal of the largest powers is no normal number.
    return (
        x
        * jnp.ldexp(jnp.ones((), x.dtype), -(exponent // 2))
        * jnp.ldexp(jnp.ones((), x.dtype), exponent // 2 - exponent)
    )


def check_varies(x: Float[Array, "n p"], name: str) -> None:
    """Raises where every row is the same, as far as a value can be looked at."""
    if concrete(x) and (np.ptp(np.asarray(x), axis=0) == 0).all():
        raise ValueError(
            f"Every row of {name} is the same, so there is no geometry to compare. Was one token read n times?"
        )


def centred(x: Float[Array, "n p"]) -> Float[Array, "n p"]:
    """Columns of the mean 0."""
    return x - x.mean(0, keepdims=True)


def spread(x: Float[Array, "n p"]) -> tuple[Any, Any, Any]:
    """The decomposition $X = U S V^T$ and which of its directions vary, by NumPy's rule for ranks."""
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    varies = s > s[:1] * (max(x.shape) * float(jnp.finfo(x.dtype).eps))
    return u, jnp.where(varies, s, 0), (vt, varies)
