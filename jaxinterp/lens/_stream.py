"""Streams of token batches: an iterable, or a function of a key."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..core._check import as_mask, as_tokens, check_mask, check_tokens
from ..data._files import fingerprint
from ._read import token_shape


def batches(stream: Any, key: Any, start: int, steps: int, config: Any) -> Iterator[Any]:
    """Batches number `start..steps` as `(tokens, mask)`, checked; the mask may be None.

    A function is called with a separate key for each step, so a resumed training gets the same batches.
    The first `start` items of an iterable are skipped.
    """
    if start >= steps:
        return
    if callable(stream):
        for step in range(start, steps):
            yield as_batch(stream(jax.random.fold_in(key, step)), config)
        return
    if not hasattr(stream, "__iter__") or hasattr(stream, "shape"):
        raise ValueError(
            "A stream is an iterable of token batches (batch, pos), or a function of a key that "
            f"returns one; got {type(stream).__name__}. For one batch again and again: "
            "lambda key: tokens."
        )
    items = iter(stream)
    for step in range(steps):
        item = next(items, None)
        if item is None:
            raise ValueError(
                f"The stream ended after {step} batches and the training has {steps} steps. Give "
                "a longer one, itertools.cycle(batches), or a function of a key."
            )
        if step >= start:
            yield as_batch(item, config)


def peeked(stream: Any, key: Any) -> tuple[Any, str | None]:
    """The same stream, and a fingerprint of its first batch, None where there is none."""
    if callable(stream):
        first = stream(jax.random.fold_in(key, 0))
    elif not hasattr(stream, "__iter__") or hasattr(stream, "shape"):
        return stream, None  # refused when it is read
    else:
        items = iter(stream)
        first_items = list(itertools.islice(items, 1))
        stream, first = itertools.chain(first_items, items), first_items
        if not first_items:
            return stream, None
    return stream, fingerprint(*(np.asarray(leaf) for leaf in jax.tree.leaves(first)))


def as_batch(item: Any, config: Any) -> tuple[Array, Array | None]:
    """Tokens and mask of one item: tokens, or the pair that `tokenizer([...])` returns."""
    tokens, mask = item if isinstance(item, tuple) else (item, None)
    tokens = as_tokens(tokens)
    check_tokens(tokens, config)
    if mask is not None:
        mask = as_mask(mask)
        check_mask(mask, token_shape(tokens))
    return tokens, mask
