"""Matrices in the files of lenses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._read import shown


def check_matrix(where: str, name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Refuses what is no array of floats of this shape. Raises `ValueError`."""
    if not isinstance(array, np.ndarray | jax.Array) or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{where}: {name!r} is an array of floats {shape}; got {shown(array)}.")
    if array.shape != shape:
        raise ValueError(f"{where}: {name!r} has the shape {shape}; got {array.shape}.")
