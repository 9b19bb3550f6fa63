"""One seed in whichever form the caller has it, as a NumPy generator."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def generator(key: Any) -> np.random.Generator:
    """A NumPy generator of a JAX key, an int seed, or a generator (which moves on)."""
    if isinstance(key, np.random.Generator):
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        if key < 0:
            raise ValueError(f"A seed is an int of at least 0; got {key}.")
        return np.random.default_rng(int(key))
    if isinstance(key, Tracer):
        raise ValueError("Data are drawn before a program is compiled: call this outside of jit.")
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    if not isinstance(key, jax.Array | np.ndarray) or key.ndim != 1 or key.dtype != np.uint32:
        raise ValueError(
            "`key` is a JAX key, an int seed or a numpy.random.Generator; got "
            f"{type(key).__name__}. Write jax.random.key(0), or 0."
        )
    return np.random.default_rng(np.asarray(key).tolist())
