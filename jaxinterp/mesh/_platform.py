"""The platform that a program will run on, for plans that are made before anything is traced."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
from jax.core import Tracer

_ahead: ContextVar[str | None] = ContextVar("platform", default=None)


def platform_of(tree: Any) -> str:
    """Where programs over these arrays run: "cpu", "gpu" or "tpu".

    It is the platform of the first array that lies on a device; by default JAX's own. Inside
    `planned_for` it is the one that was named.
    """
    if (named := _ahead.get()) is not None:
        return named
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer):
            return next(iter(leaf.devices())).platform
    return jax.default_backend()


@contextlib.contextmanager
def planned_for(platform: str) -> Iterator[None]:
    """Inside, plans are made for a platform that this process need not have.

    What a program does is chosen where it is lowered. The shapes of its pieces (how many rows a sweep has in a
    chunk, and how long they are) stand before it is traced, so a host that compiles ahead of time, or exports,
    says for what.
    """
    token = _ahead.set(platform)
    try:
        yield
    finally:
        _ahead.reset(token)
