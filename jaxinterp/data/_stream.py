"""Activations computed as they are needed, in an order that mixes contexts, by batch number."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .._deprecations import respelled
from ..core._check import as_int
from ..corpus._corpus import as_corpus, select, tokens_hash
from ..corpus._fingerprint import fingerprint
from ..corpus._model_hash import model_hash
from ..corpus._size import check_batch_size
from ..typing import JSON, CaptureLike, CorpusLike, IndexLike, KeyLike, MaskLike, MeshLike, ModelLike
from ._activations import activations
from ._mesh_stream import MeshStream
from ._order import seeds_of
from ._pools import PoolOrder
from ._reading import plan


class Stream:
    """Batches of activations by number, made by `ji.data.stream`. `batch(i)` is the same array at each call.

    ```python
    ji.data.stream(model, corpus, site="resid_post[2]", batch_size=16).batch(3).shape      # (16, 160)
    ```
    """

    def __init__(
        self,
        model: ModelLike,
        tokens: CorpusLike,
        site: CaptureLike,
        *,
        batch_size: int,
        order: list[int],
        buffer: int | None,
        passes: int,
        max_bytes: int,
    ) -> None:
        self.corpus = corpus = as_corpus(tokens)
        # Of tokens on disk the first context stands for all of them.
        in_memory = isinstance(corpus.tokens, np.ndarray)
        reading = plan(model, corpus if in_memory else corpus.tokens[np.arange(1)], site)
        if not reading.by_token:
            raise ValueError(
                "A stream has a row per token: name sites without pos or reduce, and choose "
                "tokens with positions=."
            )
        self.model, self.site, self.size, self.seeds = model, site, batch_size, order
        self.sites: list[Any] = list(site) if isinstance(site, list | tuple) else [site]
        self._shapes = reading.shapes
        self._counts = corpus.positions.sum(-1)
        self.contexts = np.flatnonzero(self._counts)
        rows = int(self._counts.sum())
        if batch_size > rows:
            raise ValueError(
                f"A batch of {batch_size} rows cannot be drawn from {rows} tokens that count: give "
                f"batch_size={rows} or less, or more text."
            )
        sizes = [
            (layers or 1) * int(np.prod(row)) * np.dtype(own).itemsize
            for layers, row, own in self._shapes.values()
        ]
        self._fits = rows * sum(sizes) <= max_bytes
        self._whole: dict[str, np.ndarray] | None = None  # rows of all contexts, in their order
        each = rows / len(self.contexts)
        # Sixteen batches of tokens in a pool: a batch mixes as many contexts as a pool has.
        self.buffer = int(-(-16 * batch_size // each)) if buffer is None else buffer
        self.buffer = max(1, min(self.buffer, len(self.contexts)))
        self.passes = min(passes, self.buffer)
        self.pools = PoolOrder(self.contexts, self._counts, batch_size, self.buffer, order)
        self._pools: dict[tuple[int, int], Future[Any]] = {}
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="activations")

    def __repr__(self) -> str:
        return (
            f"Stream({self.site!r}: {int(self._counts.sum())} tokens, batches of {self.size}, pools "
            f"of {self.buffer} contexts)"
        )

    def described(self) -> JSON:
        """What its batches follow from, as JSON: two with equal descriptions give equal batches."""
        short = lambda mask: fingerprint(mask if mask.strides[0] else mask[:1])  # one row for all
        return {
            "model": model_hash(self.model),
            "tokens": tokens_hash(self.corpus.tokens),
            "positions": short(self.corpus.positions),
            "mask": short(self.corpus.mask),
            "site": self.site if isinstance(self.site, str) else [str(each) for each in self.sites],
            "batch_size": self.size,
            "key": self.seeds,
            "buffer": self.buffer,
        }

    def batch(self, number: int) -> Any:
        """Batch `number`, counted from 0 without end: `(batch, ...)`, or a tuple for a pair of sites."""
        epoch, pool, within = self.pools.place(number)
        rows = self._start(epoch, pool).result()
        self._start(*self.pools.after(epoch, pool))
        cut = slice(within * self.size, (within + 1) * self.size)
        parts = [x[cut] for x in rows]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def batches(self, start: int = 0) -> Iterator[Any]:
        """`batch(start)`, `batch(start + 1)`, ... without end."""
        while True:
            yield self.batch(start)
            start += 1

    def on(self, mesh: MeshLike) -> MeshStream:
        """The same batches as arrays on a mesh: activations are computed, shuffled and read on its devices.

        **Arguments:**

        - `mesh`: with an axis "data", over which contexts and the rows of a batch lie. A model that is not
          on the mesh is copied to each device.

        **Returns:** `.batch(i)` and `.batches(start)`; `max_bytes` is then of all devices together.

        **Raises:** ValueError where the rows of a batch cannot be divided.

        ```python
        mesh = jax.make_mesh((1,), ("data",))
        stream = ji.data.stream(model, tokenizer(["One text."] * 20)[0], site="embed", batch_size=16)
        stream.on(mesh).batch(3).sharding
        ```

        Law: `batch(i)` has the numbers of the stream's own, to rounding.
        """
        return MeshStream(self, mesh)

    def pool_rows(self, epoch: int, pool: int) -> tuple[np.ndarray | None, np.ndarray]:
        """The contexts of a pool, ascending, and its order of their rows.

        The contexts are None where those of all pools are read once; the order is then of all rows.
        """
        here = self.pools.pool(epoch, pool)
        chosen = np.sort(here)
        order = np.random.default_rng([*self.seeds, epoch, pool]).permutation(int(self._counts[here].sum()))
        return (None, self._rows_in_all(chosen)[order]) if self._fits else (chosen, order)

    def _start(self, epoch: int, pool: int) -> Future[Any]:
        with self._lock:
            found = self._pools.get((epoch, pool))
            if found is None:
                while len(self._pools) > 1:  # the one in use, and the one to come
                    self._pools.pop(next(iter(self._pools)))
                found = self._ahead.submit(self._compute, epoch, pool)
                self._pools[epoch, pool] = found
            return found

    def _run(self, contexts: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of contexts by site, one forward pass."""
        part = select(self.corpus, contexts)
        found = activations(self.model, part, self.sites, batch_size=self.passes, progress=False)
        assert isinstance(found, dict)
        return found

    def _rows_in_all(self, contexts: np.ndarray) -> np.ndarray:
        """Which of the rows of all contexts are of these."""
        counts = self._counts[contexts]
        first = np.repeat(np.cumsum(self._counts)[contexts] - np.cumsum(counts), counts)
        return first + np.arange(counts.sum())

    def _compute(self, epoch: int, pool: int) -> tuple[np.ndarray, ...]:
        contexts, order = self.pool_rows(epoch, pool)
        if contexts is not None:
            found = self._run(contexts)
        else:  # once and in one order, so that a training which stopped gets the same bits again
            found = self._whole = self._run(self.contexts) if self._whole is None else self._whole
        out = []
        for name, x in found.items():
            stacked = self._shapes[name][0] is not None
            out.append(np.moveaxis(x, 0, 1)[order] if stacked else x[order])
        return tuple(out)


@respelled(
    batch="batch_size=",
    seed="key=jax.random.key(0)",
    real="mask=padding_mask, and positions= for what counts",
)
def stream(
    model: ModelLike,
    tokens: CorpusLike,
    *,
    site: CaptureLike,
    batch_size: int = 4096,
    key: KeyLike | None = None,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    buffer: int | None = None,
    passes: int = 32,
    max_bytes: int = 2**30,
) -> Stream:
    r"""$i \mapsto X_i$: batches of activations by number, computed as they are needed.

    Contexts are shuffled in each epoch and read in pools; the rows of a pool are shuffled together,
    so that a batch mixes contexts. Every batch is a function of `key` and its number: a training
    that stopped continues with the same batches. If the activations of all tokens that count fit in
    `max_bytes`, they are computed once, before the first batch, and stay in memory. Otherwise the pools are
    computed again in each epoch, the next pool while one is in use. A forward pass stops at the last
    layer that is needed.

    **Arguments:**

    - `model`, `mask`, `positions`: as in `activations`; `positions=slice(1, None)` leaves out BOS.
    - `tokens`: ids `(seq, pos)` or a `Corpus`. Ids in a mapped file (`numpy.load(path, mmap_mode="r")`,
      `numpy.memmap`) or an array of tensorstore stay on disk, and each pool is read when it is needed. Such ids
      have no padding.
    - `site`: one site for `(batch, d)`, without a layer for `(batch, layer, d)`; a pair of sites
      for (inputs, targets).
    - `batch_size`: rows of a batch, 4096 by default.
    - `key`: of the order; by default `jax.random.key(0)`.
    - `buffer`: contexts in a pool, by default so many that sixteen batches fit.
    - `passes`: contexts per forward pass, 32 by default.
    - `max_bytes`: of activations in the host's memory, 1 GiB by default, 0 for none but pools.

    **Returns:** a `Stream`: `.batch(i)`, `.batches(start)`.

    **Raises:** as `activations`; ValueError where a batch needs more rows than there are.

    ```python
    model, tokenizer = ji.load("tiny")
    tokens, mask = tokenizer(["One text after another.", "And another one."] * 20)
    stream = ji.data.stream(model, tokens, site="resid_post[2]", batch_size=64, mask=mask)
    stream.batch(3).shape
    ```

    Law: an epoch holds rows of `activations(...)` of the same positions, none of them twice;
    batch i is the same whichever batches came before.
    """
    for size in (batch_size, passes, 1 if buffer is None else buffer):
        check_batch_size(size)
    return Stream(
        model,
        as_corpus(tokens, mask=mask, positions=positions),
        site,
        batch_size=int(batch_size),
        order=seeds_of(key, "ji.data.stream(..., key={})"),
        buffer=buffer,
        passes=passes,
        max_bytes=as_int(max_bytes, "max_bytes", 0),
    )
