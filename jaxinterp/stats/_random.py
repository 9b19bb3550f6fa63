"""A NumPy generator from a JAX key: what is drawn on the host is decided by the key alone."""

import jax
import numpy as np

from ..core._check import check_key
from ..typing import KeyLike


def host_generator(key: KeyLike, call: str) -> np.random.Generator:
    """The generator of a key. `call` is the call that an error shows, with `{}` for the key.

    Law: the same key gives the same draws.
    """
    data = jax.random.key_data(check_key(key, call))
    return np.random.default_rng(np.asarray(data).ravel().tolist())
