r"""Sums of products of all pairs of units over a corpus, one block of rows at a time.

A batch has means of its own and sums of products about them. Two sets of tokens merge exactly
(Chan, Golub and LeVeque 1983): with counts $n_1, n_2$ and means that differ by $\delta$,

$$C = C_1 + C_2 + \frac{n_1 n_2}{n_1 + n_2}\, \delta_a \delta_b^\top.$$

So nothing cancels, whatever the offsets. Products are float32 at full precision; sums over batches are
compensated (Kahan 1965), so that their error does not grow with the number of batches.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core._acts import Acts
from ..corpus._batches import Batch
from ..mesh._gather import over_data


class SideSums(NamedTuple):
    """Sums over the units of one side `(unit,)`: pairs are a sum and what rounding has left out of it.

    - `first`: the first value, and `varies`: whether there was another one;
    - `shift`: the mean of the first batch, which is subtracted;
    - `total`: the sum of what is left; `squares`: of squares about the mean.
    """

    first: Any
    varies: Any
    shift: Any
    total: tuple[Any, Any]
    squares: tuple[Any, Any]


class PairSums(NamedTuple):
    """The state of the fold: how many tokens, both sides, and products `(row, unit)` about the means."""

    count: Any
    a: SideSums
    b: SideSums
    products: tuple[Any, Any]


def nothing(n_a: int, n_b: int, zeros: Any) -> PairSums:
    """The sums before the first batch; `zeros` is the matrix of one block, on its devices."""
    pair = lambda n: (jnp.zeros(n, jnp.float32), jnp.zeros(n, jnp.float32))
    side = lambda n: SideSums(
        jnp.zeros(n, jnp.float32), jnp.zeros(n, bool), jnp.zeros(n, jnp.float32), pair(n), pair(n)
    )
    return PairSums(jnp.int32(0), side(n_a), side(n_b), (zeros(), zeros()))


class AddPairs(eqx.Module):
    """One batch of the fold.

    - `read`: from a batch to both sides and which tokens count;
    - `start`: the first row of the block; `padded`: units of the first side, filled up to whole blocks;
    - `centred`: whether products are about the means;
    - `about`: what else makes the sums what they are, for a checkpoint.
    """

    read: Any
    start: Any
    about: Any
    padded: int = eqx.field(static=True)
    centred: bool = eqx.field(static=True)

    def __call__(self, state: PairSums, batch: Batch, acts: Acts) -> PairSums:
        a, b, counted = self.read(batch, acts)
        a = jnp.pad(a, ((0, 0), (0, self.padded - a.shape[1]))) if self.padded > a.shape[1] else a
        new = counted.sum(dtype=jnp.int32)
        a, gap_a, of_a = self._side(state.a, a, counted, state.count, new)
        b, gap_b, of_b = self._side(state.b, b, counted, state.count, new)
        rows = state.products[0].shape[0]
        if rows < self.padded:
            a = jax.lax.dynamic_slice_in_dim(a, self.start, rows, 1)
            gap_a = gap_a if gap_a is None else jax.lax.dynamic_slice_in_dim(gap_a, self.start, rows, 0)
        more = jnp.einsum("ti,tj->ij", a, b, precision="highest")
        if gap_a is not None and gap_b is not None:  # centred
            more = more + _weight(state.count, new) * gap_a[:, None] * gap_b[None]
        total, lost = added(state.products, more)
        return PairSums(state.count + new, of_a, of_b, (over_data(total, 1), over_data(lost, 1)))

    def _side(self, sums: SideSums, x: Any, counted: Any, count: Any, new: Any) -> Any:
        """What is multiplied `(token, unit)`, how far the batch's mean is from that before, and new sums."""
        here = counted[:, None]
        value = x[jnp.argmax(counted)]
        first = jnp.where(count > 0, sums.first, value)
        varies = sums.varies | (here & (x != first[None])).any(0)
        if not self.centred:
            x = jnp.where(here, x, 0)
            return x, None, sums._replace(first=first, varies=varies, squares=_squares(sums, x))
        n = jnp.maximum(new, 1).astype(jnp.float32)
        shift = jnp.where(count > 0, sums.shift, _total(jnp.where(here, x, 0)) / n)
        own = _total(jnp.where(here, x - shift[None], 0))
        gap = own / n - sums.total[0] / jnp.maximum(count, 1).astype(jnp.float32)
        # About the rounded mean of the batch, in one pass: what rounding moves it counts in the second order alone.
        x = jnp.where(here, x - (shift + own / n)[None], 0)
        squares = _squares(sums, x, _weight(count, new) * gap * gap)
        return x, gap, SideSums(first, varies, shift, added(sums.total, own), squares)


def added(pair: tuple[Any, Any], more: Any) -> tuple[Any, Any]:
    """Kahan's sum: a total plus `more`, and what rounding has left out so far."""
    more = more - pair[1]
    new = pair[0] + more
    return new, (new - pair[0]) - more


def _total(x: Any) -> Any:
    """Sums over the tokens `(unit,)`, as a product: on a CPU XLA sums a first axis unit by unit, across memory."""
    return jnp.einsum("t,ti->i", jnp.ones(x.shape[0], x.dtype), x, precision="highest")


def _squares(sums: SideSums, x: Any, between: Any = None) -> Any:
    more = _total(jnp.square(x))
    return added(sums.squares, more if between is None else more + between)


def _weight(count: Any, new: Any) -> Any:
    """n m / (n + m), 0 where one is 0."""
    n, m = count.astype(jnp.float32), new.astype(jnp.float32)
    return n * (m / jnp.maximum(n + m, 1))


@eqx.filter_jit
def alike(state: PairSums, start: Any, name: str) -> jax.Array:
    """The measure of each pair `(row, unit)`; 0 where a unit does not vary."""
    products, rows = state.products[0], state.products[0].shape[0]
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows, 0)
    of_a, of_b = cut(state.a.squares[0])[:, None], state.b.squares[0][None]
    size = of_a + of_b - products if name == "jaccard" else jnp.sqrt(of_a) * jnp.sqrt(of_b)
    varies = cut(state.a.varies)[:, None] & state.b.varies[None]
    if name in ("jaccard", "cosine"):
        varies = size > 0
    found = jnp.where(varies & (size > 0), products / jnp.where(size > 0, size, 1), 0)
    return jnp.clip(found, -1, 1)
