"""Activations computed as they are needed, in an order that mixes contexts, by batch number."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..corpus._model_hash import model_hash
from ..corpus._stored_tokens import TokenRows, is_stored
from ._activations import activations, check_batch
from ._files import fingerprint
from ._identity import tokens_print
from ._reading import plan


class Stream:
    """See `stream`. `batch(i)` is the same array whenever, and after whatever, it is asked for."""

    def __init__(
        self,
        model: Any,
        tokens: Any,
        site: Any,
        *,
        batch: int,
        seed: int,
        mask: Any,
        real: Any,
        buffer: int | None,
        passes: int,
        max_bytes: int,
    ) -> None:
        stored = TokenRows(tokens) if is_stored(tokens) else None
        if stored is not None:  # read pool by pool; the first context stands for all of them
            mask = row_mask(mask, stored.shape)
            reading = plan(model, stored[np.arange(1)], site)
        else:
            reading = plan(model, tokens, site, mask=mask, real=real)
        if not reading.by_token:
            raise ValueError(
                "A stream has a row per token: name sites without pos or reduce, and choose "
                "positions with mask=."
            )
        self.model, self.site, self.size, self.seed = model, site, batch, seed
        self.tokens, self.real = stored or reading.tokens, reading.real
        self.mask = np.asarray(reading.mask) if stored is None else mask
        self._shapes = reading.shapes
        self._counts = self.mask.sum(-1)
        self._kept = np.flatnonzero(self._counts)
        rows = int(self._counts.sum())
        if batch > rows:
            raise ValueError(
                f"A batch of {batch} rows cannot be drawn from {rows} tokens that count: give "
                f"batch={rows} or less, or more text."
            )
        sizes = [
            (layers or 1) * int(np.prod(row)) * np.dtype(own).itemsize
            for layers, row, own in self._shapes.values()
        ]
        self._fits = rows * sum(sizes) <= max_bytes
        self._whole: dict[str, np.ndarray] | None = None  # rows of all contexts, in their order
        each = rows / len(self._kept)
        # Sixteen batches of tokens in a pool: a batch mixes as many contexts as a pool has.
        self.buffer = int(-(-16 * batch // each)) if buffer is None else buffer
        self.buffer = max(1, min(self.buffer, len(self._kept)))
        self.passes = min(passes, self.buffer)
        self._ends: list[np.ndarray] = []  # by epoch: batches up to the end of each pool
        self._orders: dict[int, np.ndarray] = {}
        self._pools: dict[tuple[int, int], Future[Any]] = {}
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="activations")

    def __repr__(self) -> str:
        return (
            f"Stream({self.site!r}: {int(self._counts.sum())} tokens, batches of {self.size}, pools "
            f"of {self.buffer} contexts, seed {self.seed})"
        )

    def described(self) -> dict[str, Any]:
        """What its batches follow from, as JSON: two that say the same give the same ones."""
        real = "none" if self.real is None else fingerprint(np.asarray(self.real))
        mask = self.mask if self.mask.strides[0] else self.mask[:1]  # one row for all
        return {
            "model": model_hash(self.model),
            "tokens": tokens_print(self.tokens),
            "mask": fingerprint(mask),
            "real": real,
            "site": self.site if isinstance(self.site, str) else [str(each) for each in self.site],
            "batch": self.size,
            "seed": self.seed,
            "buffer": self.buffer,
        }

    def batch(self, number: int) -> Any:
        """Batch `number`, counted from 0 without end: `(batch, ...)`, or a tuple for a pair of sites."""
        if number < 0:
            raise IndexError(f"Batches count from 0; got {number}.")
        epoch, pool, within = self._place(number)
        rows = self._pool(epoch, pool)
        self._start(*self._after(epoch, pool))
        cut = slice(within * self.size, (within + 1) * self.size)
        parts = [x[cut] for x in rows]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def batches(self, start: int = 0) -> Iterator[Any]:
        """`batch(start)`, `batch(start + 1)`, ... without end."""
        while True:
            yield self.batch(start)
            start += 1

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            rng = np.random.default_rng([self.seed, epoch])
            self._orders = {
                **dict(list(self._orders.items())[-2:]),
                epoch: rng.permutation(self._kept),
            }
        return self._orders[epoch]

    def _contexts(self, epoch: int, pool: int) -> np.ndarray:
        return self._order(epoch)[pool * self.buffer : (pool + 1) * self.buffer]

    def _place(self, number: int) -> tuple[int, int, int]:
        """Epoch, pool and place in the pool of a batch."""
        epoch = 0
        while True:
            if epoch == len(self._ends):
                counts = self._counts[self._order(epoch)]
                starts = np.arange(0, len(counts), self.buffer)
                full = np.add.reduceat(counts, starts) // self.size
                self._ends.append(np.cumsum(full))
                if not full.any():
                    raise ValueError(
                        f"No pool of {self.buffer} contexts fills a batch of {self.size}: give a "
                        "larger buffer= or a smaller batch=."
                    )
            ends = self._ends[epoch]
            if number < ends[-1]:
                pool = int(np.searchsorted(ends, number, side="right"))
                return epoch, pool, int(number - (ends[pool - 1] if pool else 0))
            number -= int(ends[-1])
            epoch += 1

    def _after(self, epoch: int, pool: int) -> tuple[int, int]:
        last = pool + 1 == -(-len(self._kept) // self.buffer)
        return (epoch + 1, 0) if last else (epoch, pool + 1)

    def _start(self, epoch: int, pool: int) -> Future[Any]:
        with self._lock:
            found = self._pools.get((epoch, pool))
            if found is None:
                while len(self._pools) > 1:  # the one in use, and the one to come
                    self._pools.pop(next(iter(self._pools)))
                found = self._ahead.submit(self._compute, epoch, pool)
                self._pools[epoch, pool] = found
            return found

    def _pool(self, epoch: int, pool: int) -> tuple[np.ndarray, ...]:
        return self._start(epoch, pool).result()

    def _run(self, contexts: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of contexts by site, one forward pass."""
        sites = list(self.site) if isinstance(self.site, list | tuple) else [self.site]
        tokens, mask = self.tokens[contexts], self.mask[contexts]
        # What is padding was told from the whole mask: that of some contexts may look otherwise.
        real = np.ones(mask.shape, bool) if self.real is None else self.real[contexts]
        return activations(self.model, tokens, sites, mask=mask, real=real, batch=self.passes, progress=False)

    def _held(self, contexts: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Rows of all contexts, and which are of these. The model reads them once, in one order
        whatever is asked for first: a training that stopped gets the same bits again."""
        if self._whole is None:
            self._whole = self._run(self._kept)
        counts = self._counts[contexts]
        ends = np.cumsum(self._counts)
        first = np.repeat(ends[contexts] - np.cumsum(counts), counts)
        return self._whole, first + np.arange(counts.sum())

    def _compute(self, epoch: int, pool: int) -> tuple[np.ndarray, ...]:
        here = self._contexts(epoch, pool)
        chosen = np.sort(here)
        found, rows = self._held(chosen) if self._fits else (self._run(chosen), None)
        order = np.random.default_rng([self.seed, epoch, pool]).permutation(int(self._counts[here].sum()))
        order = order if rows is None else rows[order]
        out = []
        for name, x in found.items():
            stacked = self._shapes[name][0] is not None
            out.append(np.moveaxis(x, 0, 1)[order] if stacked else x[order])
        return tuple(out)


def stream(
    model: Any,
    tokens: Any,
    *,
    site: Any,
    batch: int = 4096,
    seed: int = 0,
    mask: Any = None,
    real: Any = None,
    buffer: int | None = None,
    passes: int = 32,
    max_bytes: int = 2**30,
) -> Stream:
    r"""$i \mapsto X_i$: batches of activations by number, computed as they are needed.

    Contexts are shuffled anew each epoch and read in pools; the rows of a pool are shuffled together,
    so that a batch mixes contexts. Every batch is a function of `seed` and its number: a training
    that stopped goes on with the same ones. Where the activations of all tokens that count fit in
    `max_bytes`, the model reads them once, before the first batch, and they stay in memory. Else it
    reads a pool anew each epoch, the next one while one is in use. A forward pass stops at the last
    layer needed.

    **Arguments:**

    - `model`, `tokens` (ids `(seq, pos)` or a `Corpus`), `mask`, `real`: as in `activations`; the
      mask leaves out BOS and padding. Ids in a mapped file (`numpy.load(path, mmap_mode="r")`,
      `numpy.memmap`) or an array of tensorstore stay there: a pool is read when it is due. They
      are full contexts, and one row `(pos,)` may be the mask of all.
    - `site`: one site for `(batch, d)`, without a layer for `(batch, layer, d)`; a pair of sites
      for (inputs, targets).
    - `batch` rows; `seed`; `buffer` contexts in a pool, by default so many that sixteen batches fit;
      `passes` contexts per forward pass; `max_bytes` of activations held in the host's memory, 1 GiB
      by default, 0 for none but pools.

    **Returns:** a `Stream`: `.batch(i)`, `.batches(start)`.

    **Raises:** as `activations`; ValueError where a batch is larger than all there is.

    ```python
    model, tokenizer = ji.load("tiny")
    tokens, real = tokenizer(["One text after another.", "And another one."] * 20)
    stream = ji.data.stream(model, tokens, site="resid_post[2]", batch=64, mask=ji.data.keep(real))
    stream.batch(3).shape
    ```

    Law: an epoch holds rows of `activations(model, tokens, site, mask=mask)`, none of them twice;
    batch i is the same whichever were asked for before.
    """
    check_batch(batch)
    check_batch(passes)
    if buffer is not None:
        check_batch(buffer)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"A seed is an int of 0 or more; got {seed!r}.")
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int | np.integer) or max_bytes < 0:
        raise ValueError(
            f"max_bytes is an int of 0 or more, 2**30 for 1 GiB of activations; got {max_bytes!r}."
        )
    return Stream(
        model,
        tokens,
        site,
        batch=int(batch),
        seed=int(seed),
        mask=mask,
        real=real,
        buffer=buffer,
        passes=passes,
        max_bytes=int(max_bytes),
    )


def row_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of stored tokens `(seq, pos)`: one row for all of them, or in memory."""
    mask = np.ones(shape[1], bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"The mask of stored tokens {shape} is of bools, one row for all {shape[1:]} or one for each; "
            f"got {mask.shape} of {mask.dtype}. Without BOS: numpy.arange(ctx) > 0."
        )
    if not mask.any():
        raise ValueError("The mask selects no token at all.")
    return np.broadcast_to(mask, shape)
