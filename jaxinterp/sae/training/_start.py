"""Where a training begins: first weights, and the state before the first step, on one device or on a mesh."""

import functools
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from ...fit._state import State
from ...mesh._dictionaries import made_on, shard
from ...typing import ArrayLike, KeyLike, OptimizerLike
from ..kinds._dictionary import Dictionary
from ._request import check_first
from ._state import begin


def first_weights(request: Any, mesh: Mesh | None, key: KeyLike, x: ArrayLike, y: ArrayLike) -> Any:
    """The dictionary that a kind begins with, or a dictionary that is trained further.

    On a mesh it is made by one program, each part on its own device.
    """
    given = key, jnp.asarray(x), jnp.asarray(y)
    if mesh is None:
        begun = request.start(*given)
    elif isinstance(request, Dictionary):
        begun = shard(request.start(*given), mesh)
    else:
        begun = made_on(mesh, request.start, *given)
    check_first(request, begun)
    return begun


def first_state(
    sae: Any, mesh: Mesh | None, optimizer: OptimizerLike, x: ArrayLike, y: ArrayLike, averaged: bool
) -> State:
    """The state before the first step; of the batch `x`, `y` only the shapes are read."""
    start = functools.partial(begin, optimizer=optimizer, x=x, y=y, averaged=averaged)
    return start(sae) if mesh is None else made_on(mesh, start, sae)
