"""Where two trees of penzai's layers differ."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


def differences(a: Any, b: Any, where: str) -> Iterator[str]:
    """Where two penzai layers differ, in words; nothing when they compute the same."""
    if type(a) is not type(b) and {type(a), type(b)} != {int, float}:
        yield f"{where or 'model'} is a {type(a).__name__}, not a {type(b).__name__}"
    elif dataclasses.is_dataclass(a) and not isinstance(a, type):
        for field in dataclasses.fields(a):
            yield from differences(
                getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}".lstrip(".")
            )
    elif isinstance(a, functools.partial):
        yield from differences((a.func, a.args, a.keywords), (b.func, b.args, b.keywords), where)
    elif isinstance(a, list | tuple | dict) and len(a) != len(b):
        yield f"{where} has {len(a)} entries, not {len(b)}"
    elif isinstance(a, list | tuple):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, f"{where}[{i}]")
    elif isinstance(a, dict) and set(a) == set(b):
        for key in a:
            yield from differences(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, jax.Array | np.ndarray):
        if a.dtype != b.dtype or not np.array_equal(a, b):
            yield f"{where} is {a}, not {b}"
    elif isinstance(a, dict) or a != b:
        yield f"{where} is {a!r}, not {b!r}"
