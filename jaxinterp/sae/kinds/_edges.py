r"""Cuts that stand between two entries, not at one: they choose the same entries when these are computed again.

A product that is computed a second time, in blocks of another width, may differ in its last bits. A cut at the k-th largest
entry would then lose this entry. The cut here is half-way between the k-th and the next one, in the order of
`ordered`.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from ...typing import JaxArray
from ._cut import BITS, kth_largest, ordered, unordered
from ._cut_kernel import LANES, depth, fits_kernel, sifted_by_kernel
from ._cut_of_batch import HEAVY
from ._kept import Choice, choose_largest
from ._platforms import Form, by_platform

Blocks: TypeAlias = Callable[[Callable[[JaxArray], JaxArray]], JaxArray]
"Applies a function to the entries of each block of rows; the results on a leading axis."


def edges_of_rows(pre: JaxArray, k: int, among: JaxArray | None = None) -> Choice:
    """`choose_largest` of `pre (batch, features)`, with a cut between the k-th largest entry and the next.

    Where both are equal the first of the equal ones are chosen, as `choose_largest` does.
    """
    cut, last = choose_largest(pre, k, among=among)
    if k == pre.shape[-1]:
        return cut, last
    under, _ = choose_largest(pre, k + 1, among=among)
    return between(under, cut), jnp.where(under < cut, -1, last)


def between(low: JaxArray, high: JaxArray) -> JaxArray:
    """The whole number half-way from `low` to `high`, rounded down; no sum overflows."""
    return (low & high) + jax.lax.shift_right_arithmetic(low ^ high, jnp.ones_like(low))


def candidates(pre: JaxArray, k: int) -> JaxArray:
    """The keys of `max(pre, 0)` that may be among the k largest of a row on average, `(rows, cells)`; see `edge_of_batch`.

    Cells are the columns with one remainder by 512, and the largest keys of each are kept. Short rows keep all keys.
    """
    pre = jax.lax.stop_gradient(pre)
    deep = _deep(pre, k)
    if not deep:
        return _keys(pre)
    options = (("deep", deep),)
    forms = {"tpu": Form(sifted_by_kernel, options)} if fits_kernel(pre.shape, pre.dtype) else {}
    return by_platform(Form(_sifted, options), pre, **forms)


def edge_of_batch(found: JaxArray, count: int, features: int, blocks: Blocks) -> JaxArray:
    """A number between the `count`-th largest entry of a batch and the next one.

    - `found (batch, cells)`: the `candidates` of all rows.
    - `features`: the number of columns of a row.
    - `blocks`: reads all entries, block of rows by block, where the candidates are not enough.
    """
    of_candidates: Blocks = lambda function: function(found)[None]
    edge = _edge(of_candidates, found[:1, :1], count)
    if found.shape[1] == features:
        return unordered(edge[0, 0])
    # No cell hides an entry above the cut where its least key is not above it.
    least = jnp.max(found[:, -LANES:])
    turn = lambda state: (
        _edge(lambda f: blocks(lambda pre: f(_keys(pre))), found[:1, :1], count),
        jnp.bool_(True),
    )
    with jax.named_scope("crowded"):  # the name under which `benchmarks/tpu.py` leaves it out
        edge, _ = jax.lax.while_loop(lambda state: ~state[1], turn, (edge, least <= edge[0, 0]))
    return unordered(edge[0, 0])


def _edge(blocks: Blocks, like: JaxArray, count: int) -> JaxArray:
    # A CPU holds what it compares with each guess.
    one = lambda like: _edge_by(1, blocks, like, count)
    return jax.lax.platform_dependent(like, cpu=one, default=lambda like: _edge_by(BITS, blocks, like, count))


def _edge_by(bits: int, blocks: Blocks, like: JaxArray, count: int) -> JaxArray:
    def counting(guesses: list[JaxArray]) -> list[JaxArray]:
        sizes = blocks(lambda keys: jnp.stack([jnp.sum(keys >= guess, dtype=jnp.int32) for guess in guesses]))
        return [size[None, None] for size in jnp.sum(sizes, 0)]

    cut = kth_largest(counting, count + 1, like, bits)  # pyright: ignore[reportArgumentType]
    cut = jnp.maximum(cut, 0)
    highest = jnp.iinfo(cut.dtype).max
    above = jnp.min(blocks(lambda keys: jnp.min(jnp.where(keys > cut, keys, highest))))
    return jnp.where(above < highest, between(cut, above), cut)


def _keys(pre: JaxArray) -> JaxArray:
    return ordered(jax.nn.relu(pre))


def _deep(pre: JaxArray, k: int) -> int:
    m = pre.shape[-1]
    return 0 if m % LANES else depth(min(HEAVY * k, m), m)


def _sifted(pre: JaxArray, deep: int) -> JaxArray:
    """`sifted_by_kernel` in plain JAX."""
    keys = _keys(pre)
    cells = jnp.sort(keys.reshape(len(keys), -1, LANES), 1)[:, ::-1][:, :deep]
    return cells.reshape(len(keys), -1)
