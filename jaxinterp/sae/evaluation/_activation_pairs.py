"""The same activations for two dictionaries, batch by batch; every pass is over the same rows."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._waiting import hidden
from ..training._batches import Batches, check_array


class ActivationPairs:
    """Iterates `(x_a, x_b, weight)`: batches of one shape, the last one filled up with weight 0."""

    def __init__(self, a: Any, b: Any, x: Any, batch_size: int, batches: int | None) -> None:
        self.parts, self.size, self.count, self.source = x, batch_size, batches, None
        self.widths = getattr(a, "d", None), getattr(b, "d", None)
        pair = x if isinstance(x, tuple) else (x, x)
        if all(hasattr(part, "dtype") for part in pair):
            self.parts = [tuple(check_array(part) for part in pair)]
            if len(pair) != 2 or len(pair[0]) != len(pair[1]):
                raise ValueError(
                    "Activations for two dictionaries are one array, or two with a row for each "
                    f"token; got {[part.shape for part in pair]}."
                )
        elif callable(getattr(x, "batch", None)):
            if batches is None:
                raise ValueError(
                    "A stream has no end: give the number of batches to read, such as batches=100."
                )
            self.source = Batches(x, batch_size, 0)
        elif iter(x) is x:
            raise ValueError(
                "The activations are read several times, and this iterator can be read only once: "
                "give an array, a list of batches, or ji.data.stream(...) with batches=."
            )

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        size = self.size
        for pair in self._pairs():
            for width, part in zip(self.widths, pair, strict=True):
                if width is not None and part.shape[-1] != width:
                    raise ValueError(
                        f"These activations have the width {part.shape[-1]}, and the dictionary reads "
                        f"d={width}. For dictionaries of two sites give a pair: (x_a, x_b)."
                    )
            for start in range(0, len(pair[0]), size):
                rows = [np.asarray(part[start : start + size]) for part in pair]
                short = size - len(rows[0])
                weight = np.r_[np.ones(size - short), np.zeros(short)].astype(np.float32)
                fill = lambda v, n=short: np.concatenate([v, np.zeros((n, *v.shape[1:]), v.dtype)])
                first = jnp.asarray(fill(rows[0]))
                second = first if pair[0] is pair[1] else jnp.asarray(fill(rows[1]))
                yield first, second, jnp.asarray(weight)

    def fold(self, init: Any, step: Any, name: str, progress: bool) -> Any:
        """The state after `step(state, x_a, x_b, weight)` of every batch."""
        from tqdm.auto import tqdm

        state = init
        bar: Any = {"unit": "batch", "delay": 2.0, **hidden(progress)}
        for x_a, x_b, weight in tqdm(self, desc=name, **bar):
            state = step(state, x_a, x_b, weight)
        return state

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        if self.source is not None:
            assert self.count is not None
            yield from (self.source.get(i) for i in range(self.count))
            return
        for part in self.parts:
            pair = part if isinstance(part, tuple) else (part, part)
            yield check_array(pair[0]), pair[0] if pair[0] is pair[1] else check_array(pair[1])


def blocks(features: int, block: int) -> list[int]:
    """Where blocks of features begin; the last one overlaps the one before, to be as long."""
    block = min(block, features)
    starts = list(range(0, features - block + 1, block))
    return starts if starts[-1] + block == features else [*starts, features - block]
