"""Selectors, drawn and read: which entries of an axis, for one prompt.

The rule under a mask: an int, or ints `(n,)`, count the real tokens of each prompt; masks, and ints
per example `(*batch, n)`, stand for columns of the padded array.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .calls import Call
from .draw import Draw
from .prompts import POSITIONS, WIDTH, Prompt, Prompts


def draw_selector(draw: Draw, axis: str, size: int, prompts: Prompts, traced: bool) -> Any:
    """A selector of an axis (`pos`, `query`, `key`, `head` or `unit`) of `size` entries."""
    forms = ["int", "int", "ints", "mask"]
    if prompts.batch:
        forms += ["ints per example"] + ["mask per example"] * (axis != "unit")
    form = draw.one_of(*forms)
    position = axis in POSITIONS
    limit = prompts.shortest if position else size
    length = WIDTH if position else size
    if form == "mask":
        value: Any = draw.bools(length)
    elif form == "mask per example":
        value = draw.bools(*prompts.batch, length)
    elif form == "ints per example":
        count = draw.count(1, 2)
        shape = (*prompts.batch, count)
        value = prompts.columns(draw, count) if position else draw.ints(0, size, shape)
        value = np.where(draw.values.random(shape) < 0.3, value - length, value).astype(np.int32)
    else:
        shape = () if form == "int" else (draw.count(1, 3),)
        value = draw.ints(-limit, limit, shape)
    how = draw.one_of("numpy", "python", "jax")
    if how == "jax":
        return jnp.asarray(value)
    return value.tolist() if how == "python" and not traced else value


def chosen(given: Any, axis: str, size: int, prompt: Prompt) -> np.ndarray:
    """Which of `size` entries a selector names in one prompt; a prompt that has grown keeps its own."""
    given, hit = np.asarray(given), np.zeros(size, bool)
    position = axis in POSITIONS
    if given.dtype == bool:
        row = given[prompt.index] if given.ndim > 1 else given
        row = row[prompt.columns] if position else row
        hit[: len(row)] = row
        return hit
    own = len(prompt.columns) if position else size
    if given.ndim <= 1:
        for i in np.atleast_1d(given):
            assert -own <= i < own
            hit[i % own] = True
        return hit
    row = given[prompt.index]
    for i in row:
        hit[np.flatnonzero(prompt.columns == i % prompt.width) if position else i % size] = True
    return hit


def draw_layers(draw: Draw, count: int, traced: bool) -> Any:
    """None, or layers as Python has them (structure) or as JAX arrays (values)."""
    form = draw.one_of("all", "int", "int", "ints", "slice", "mask", "jax int", "jax ints", "jax mask")
    some = [int(i) for i in draw.structure.integers(-count, count, 2)]
    if form == "int":
        return some[0]
    if form == "ints":
        return some if not traced else tuple(some)
    if form == "slice":
        return Call("slice", *draw.one_of((1, None), (None, -1), (0, 3, 2), (None, None, -1)))
    if form == "mask" and not traced:
        return np.arange(count) != some[0] % count
    if form in ("jax int", "jax ints"):
        return jnp.asarray(draw.ints(-count, count, () if form == "jax int" else (2,)))
    return jnp.asarray(draw.bools(count)) if form == "jax mask" else None


def layers_of(given: Any, count: int) -> list[int]:
    """Layers from 0, in order."""
    if given is None:
        return list(range(count))
    if isinstance(given, Call):
        return sorted(range(count)[slice(*given.args)])
    given = np.asarray(given)
    if given.dtype == bool:
        return [int(i) for i in np.flatnonzero(given)]
    return sorted({int(i) % count for i in np.atleast_1d(given)})
