"""Batches of rows of arrays, by number: a new random order in each epoch."""

import jax
import jax.numpy as jnp
import numpy as np

from .._deprecations import respelled
from ..core._check import check_key
from ..typing import IntLike, KeyLike, PyTree
from ._settings import check_counts
from ._step import Gathered


class Order:
    """The rows of batch i of n rows: consecutive entries of a random order, a new one in each epoch.

    Batch i depends on `seed` and i alone. What is left of an epoch is not used.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._epoch: tuple[int, np.ndarray] | None = None

    def __call__(self, number: int) -> np.ndarray:
        epoch, within = divmod(number, self.n // self.batch_size)
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            self._epoch = epoch, order.astype(np.int32)
        return self._epoch[1][within * self.batch_size : (within + 1) * self.batch_size]


def seed_of(key: KeyLike) -> int:
    """A number for NumPy's generators from a key."""
    return int(np.asarray(jax.random.key_data(key)).ravel()[-1])


class Rows:
    r"""$i \mapsto (x_r)_{r \in R_i}$: batches of rows of arrays, in a new random order in each epoch.

    **Arguments:**

    - `arrays`: a tree of arrays, each with n rows on its first axis. They stay on the device.
    - `batch_size`: how many rows a batch has, at most n.
    - `key`: a `jax.random.key`, for the order.

    **Raises:** ValueError for arrays with other numbers of rows or none, and a batch of more rows than
    there are.

    ```python
    batches = ji.fit.Rows((x, y), batch_size=64, key=jax.random.key(0))
    batches.batch(3)  # the same rows whenever it is called
    ```

    Law: batch i depends on the key and i alone; an epoch has no row twice.
    """

    @respelled(batch="batch_size=", seed="key=jax.random.key(0)")
    def __init__(self, arrays: PyTree, batch_size: IntLike, *, key: KeyLike) -> None:
        check_counts(batch_size=batch_size)
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(arrays)]
        if not shapes or not all(shapes) or len({shape[0] for shape in shapes}) > 1 or not shapes[0][0]:
            more = "" if len(shapes) < 5 else ", ..."
            raise ValueError(
                "Arrays have the same number of rows, at least one, on their first axis; got the shapes "
                f"{', '.join(map(str, shapes[:4])) or 'of no array'}{more}. Lists of numbers are no arrays: "
                "np.asarray(x)."
            )
        if batch_size > shapes[0][0]:
            raise ValueError(
                f"A batch of {batch_size} rows cannot be drawn from {shapes[0][0]}: give "
                f"batch_size={shapes[0][0]} or less."
            )
        seed = seed_of(check_key(key, "ji.fit.Rows(arrays, batch_size, key={})"))
        self.rows = Order(shapes[0][0], int(batch_size), seed)
        self.read = Gathered(jax.tree.map(jnp.asarray, arrays))

    def batch(self, number: int) -> PyTree:
        """Batch `number`, a tree like the arrays."""
        return self.read(jnp.asarray(self.rows(number)))
