"""A NumPy generator from a JAX key: what is drawn on the host is decided by the key alone."""

import jax
import numpy as np
from jax.core import Tracer

from ._arguments import check_key
from .typing import KeyLike


def host_generator(key: KeyLike, call: str = "key={}") -> np.random.Generator:
    """The generator of a key. `call` is the call that an error shows, with `{}` for the key.

    Raises `ValueError` for anything that is no single key, and for a key that is traced.

    Law: the same key gives the same draws; the typed and the raw form of a key are the same.
    """
    if isinstance(key, Tracer):
        raise ValueError(
            "What is drawn on the host is drawn before a program is compiled, so its key cannot be "
            "traced: call this outside of jit and vmap, and pass the arrays in."
        )
    if isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim:
        raise ValueError(f"One key makes one batch; got {key.shape} of them. Call this once for each key.")
    return np.random.default_rng(np.asarray(jax.random.key_data(check_key(key, call))).ravel().tolist())


def key_numbers(key: KeyLike) -> list[int]:
    """A key as ints, as files of records hold it: `jax.random.key(3)` is [0, 3]."""
    return [int(number) for number in np.asarray(jax.random.key_data(key)).ravel()]
