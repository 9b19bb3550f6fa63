"""In which order a stream reads contexts: pools of them, anew each epoch, addressed by batch."""

import numpy as np


class PoolOrder:
    """Contexts in a new order each epoch, `buffer` of them in a pool.

    - `contexts` `(n,)`: their numbers; `counts` `(context,)`: tokens of each that count;
    - `size`: rows of a batch. What does not fill a last batch of a pool is left out of that epoch;
    - `seeds`: from which the order follows, with the epoch.
    """

    def __init__(
        self, contexts: np.ndarray, counts: np.ndarray, size: int, buffer: int, seeds: list[int]
    ) -> None:
        self.contexts, self.counts, self.size, self.buffer, self.seeds = contexts, counts, size, buffer, seeds
        self.ends: list[np.ndarray] = []  # by epoch: batches up to the end of each pool
        self._orders: dict[int, np.ndarray] = {}

    def order(self, epoch: int) -> np.ndarray:
        """The contexts of an epoch, in order."""
        if epoch not in self._orders:
            rng = np.random.default_rng([*self.seeds, epoch])
            self._orders = {
                **dict(list(self._orders.items())[-2:]),
                epoch: rng.permutation(self.contexts),
            }
        return self._orders[epoch]

    def pool(self, epoch: int, pool: int) -> np.ndarray:
        """The contexts of a pool."""
        return self.order(epoch)[pool * self.buffer : (pool + 1) * self.buffer]

    def place(self, number: int) -> tuple[int, int, int]:
        """Epoch, pool and place in the pool of a batch."""
        if number < 0:
            raise IndexError(f"Batches count from 0; got {number}.")
        epoch = 0
        while True:
            if epoch == len(self.ends):
                counts = self.counts[self.order(epoch)]
                starts = np.arange(0, len(counts), self.buffer)
                full = np.add.reduceat(counts, starts) // self.size
                self.ends.append(np.cumsum(full))
                if not full.any():
                    raise ValueError(
                        f"No pool of {self.buffer} contexts fills a batch of {self.size}: give a "
                        "larger buffer= or a smaller batch_size=."
                    )
            ends = self.ends[epoch]
            if number < ends[-1]:
                pool = int(np.searchsorted(ends, number, side="right"))
                return epoch, pool, int(number - (ends[pool - 1] if pool else 0))
            number -= int(ends[-1])
            epoch += 1

    def after(self, epoch: int, pool: int) -> tuple[int, int]:
        """Epoch and number of the next pool."""
        last = pool + 1 == -(-len(self.contexts) // self.buffer)
        return (epoch + 1, 0) if last else (epoch, pool + 1)
