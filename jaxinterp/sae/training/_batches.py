"""What a training reads: batch number i, the same one whenever it is read."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...data import Store, stored
from ...data._files import fingerprint
from ...fit._rows import Order
from ..files._origin import Origin, origin_of_stream


class Batches:
    r"""$i \mapsto (x_i, y_i)$: batches by number; targets are the inputs where there are no others.

    For an array `(n, d)` (or a pair of arrays) batch i is rows of a shuffled order, anew each epoch,
    computed from the seed and i alone, so that any batch can be read at any time. For an object
    with `.batch(i)` it is that; for a plain iterable it is the next one, and only the next.
    """

    def __init__(self, stream: Any, batch_size: int, seed: int) -> None:
        self.seed = seed
        self.arrays: tuple[Any, ...] | None = None
        self._ask: Callable[[int], Any] | None = None
        self._next: Iterator[Any] | None = None
        self._at = 0
        self._first: Any = None
        self._lock = threading.RLock()  # another thread fetches batches ahead
        pair = stream if isinstance(stream, tuple) else (stream,)
        if all(hasattr(part, "shape") and hasattr(part, "dtype") for part in pair):
            self.arrays = tuple(check_array(part) for part in pair)
            rows = {len(part) for part in self.arrays}
            if len(rows) > 1 or len(pair) > 2:
                raise ValueError(
                    "A pair of arrays is (inputs, targets) with a row each per example; got the "
                    f"shapes {[part.shape for part in self.arrays]}."
                )
            if batch_size > rows.pop():
                raise ValueError(
                    f"A batch of {batch_size} rows cannot be drawn from {len(self.arrays[0])}: give "
                    f"batch_size={len(self.arrays[0])} or less."
                )
            self._order = Order(len(self.arrays[0]), batch_size, seed)
        elif callable(getattr(stream, "batch", None)):
            stream = (
                stored(stream, batch_size=batch_size, key=jax.random.key(seed))
                if isinstance(stream, Store)
                else stream
            )
            self._ask = stream.batch
        elif isinstance(stream, Iterable):
            self._next = iter(stream)
        else:
            raise ValueError(
                "A stream is an array (n, d), a pair of arrays, an iterable of batches, or has "
                f"batch(i), as ji.data.stream(...) and ji.data.Store; got {type(stream).__name__}."
            )
        self.stream = stream

    def rows(self, number: int) -> np.ndarray:
        """With arrays: which rows batch `number` has."""
        assert self.arrays is not None
        return self._order(number)

    def get(self, number: int) -> tuple[Any, Any]:
        """Batch `number`: inputs and targets."""
        with self._lock:
            return self._get(number)

    def _get(self, number: int) -> tuple[Any, Any]:
        if self.arrays is not None:
            rows = self.rows(number)
            parts = [part[rows] for part in self.arrays]
        elif self._ask is not None:
            parts = self._ask(number)
        else:
            assert self._next is not None
            while self._at < number:  # resumed: what was read before is read past
                self._forward()
            parts = self._forward()
        parts = parts if isinstance(parts, tuple | list) else (parts,)
        parts = [check_array(part) for part in parts]
        return parts[0], parts[-1]

    def _forward(self) -> Any:
        assert self._next is not None
        self._at += 1
        try:
            return next(self._next)
        except StopIteration:
            raise ValueError(
                f"The stream ended after {self._at - 1} batches, before the last step. Give fewer "
                "steps, or a longer stream (itertools.cycle, or an array)."
            ) from None

    def described(self) -> dict[str, Any]:
        """What the batches follow from, as JSON: arrays by their content, streams by their own
        account, and what has none by its first batch."""
        if self.arrays is not None:
            return {"arrays": [fingerprint(part) for part in self.arrays]}
        if callable(own := getattr(self.stream, "described", None)):
            return {"stream": own()}
        return {"first": [fingerprint(np.asarray(part)) for part in self.first()]}

    def origin(self) -> Origin:
        """The model and the site that a stream says it is of."""
        return Origin() if self.arrays is not None else origin_of_stream(self.stream)

    def first(self) -> tuple[Any, Any]:
        """The first batch, which the run reads again."""
        return self.sample(1) if self._next is not None else self.get(0)

    def sample(self, rows: int) -> tuple[Any, Any]:
        """About so many rows of the first batches, to begin with."""
        if self.arrays is not None:
            order = np.random.default_rng([self.seed, 0xFEED]).permutation(len(self.arrays[0]))
            parts = [part[order[:rows]] for part in self.arrays]
            return parts[0], parts[-1]
        if self._next is not None:
            if self._first is None:  # an iterable gives it only once
                self._first = next(self._next, None)
                if self._first is None:
                    raise ValueError("The stream is empty: an iterable that is used up, perhaps.")
                self._next = _chain(self._first, self._next)
            first = self._first
            parts = first if isinstance(first, tuple | list) else (first,)
            return check_array(parts[0]), check_array(parts[-1])
        several = [self.get(0)]
        while sum(len(x) for x, _ in several) < rows and len(several) < 8:
            several.append(self.get(len(several)))
        x, y = ([p[i] for p in several] for i in (0, 1))
        return _first_rows(x, rows), _first_rows(y, rows)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _first_rows(parts: list[Any], rows: int) -> Any:
    if all(isinstance(part, jax.Array) for part in parts):  # they stay on their devices
        return jnp.concatenate(parts)[:rows]
    return np.concatenate([np.asarray(part) for part in parts])[:rows]


def check_array(x: Any) -> Any:
    """A batch of real activations `(n, ..., d)`, as float32 where it is float64."""
    if not isinstance(x, jax.Array):
        x = np.asarray(x)
    kind = x.dtype.kind
    if x.ndim < 2 or kind not in "fV":
        raise ValueError(
            f"Activations are (rows, d) of floats; got the shape {x.shape} of {x.dtype}. One row "
            "per token: x.reshape(-1, x.shape[-1])."
        )
    return x.astype(np.float32) if x.dtype == np.float64 else x
