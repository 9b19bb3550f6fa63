"""Randomness of the host from a JAX key; see `jaxinterp._random`."""

import jax
import numpy as np

from .._random import host_generator as host_generator
from ..typing import KeyLike


def key_numbers(key: KeyLike) -> list[int]:
    """A key as ints, as files of records hold it: `jax.random.key(3)` is [0, 3]."""
    return [int(number) for number in np.asarray(jax.random.key_data(key)).ravel()]
