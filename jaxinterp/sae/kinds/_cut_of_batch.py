r"""The cut of a whole batch: the value that so many of its entries are above, found by counting."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import current_mesh
from ...typing import JaxArray
from ._cut import BITS, GPU_BITS, kth_largest, unordered
from ._cut_kernel import LANES, depth, fits_kernel, sifted_by_kernel
from ._platforms import Form, by_platform
from ._sparse import has_two_stages, largest_of_rows

ADDED = 16  # rows added to one another before all are counted
WIDER = 4  # candidates of a row for the cut of a batch, in multiples of k
HEAVY = 16  # a row with so many times the average still has all its entries above the cut among those of its cells


def largest_above(f: JaxArray, count: JaxArray | int, k: int | None = None) -> JaxArray:
    r"""The largest value that leaves at most `count` entries of $\max(f, 0)$ above it, exactly.

    With many features and the average `k` of a row, the search is first among the largest entries of each
    row: on a CPU 4 k of them, in a TPU's kernel those of its cells. That is enough where no row or cell
    has more above the cut (its least candidate is not above it). Otherwise it is among all entries.
    """
    f, count = jax.lax.stop_gradient(f), jnp.asarray(count, jnp.int32)
    if current_mesh() is not None:
        return bisect(f, count)
    few, by_rows = WIDER * (k or f.shape[-1]), _by_rows()
    forms = {"cpu": by_rows, "cuda": _for_gpu()}
    if has_two_stages(f.shape[-1], few):
        forms["cpu"] = Form(_cut_by_candidates, (("few", few),))
    deep = depth(HEAVY * (k or f.shape[-1]), f.shape[-1]) if fits_kernel(f.shape, f.dtype) else 0
    if deep:
        forms["tpu"] = Form(_cut_by_cells, (("deep", deep),))
    return by_platform(Form(_bisect_passes), f, count, **forms)


def _cut_by_candidates(f: JaxArray, count: JaxArray, few: int) -> JaxArray:
    candidates, _ = largest_of_rows(f, few)
    # No row has more above the cut where its least candidate is not.
    bisect = functools.partial(_bisect_rows, added=ADDED)
    return _checked(bisect, f, count, candidates, candidates[..., -1])


def _cut_by_cells(
    f: JaxArray, count: JaxArray, deep: int, sift: Callable[[JaxArray, int], JaxArray] = sifted_by_kernel
) -> JaxArray:
    candidates = unordered(sift(f, deep))
    return _checked(_bisect_passes, f, count, candidates, candidates[..., -LANES:])


def _checked(
    bisect: Callable[..., JaxArray], f: JaxArray, count: JaxArray, candidates: JaxArray, least: JaxArray
) -> JaxArray:
    """The cut of the candidates, or of all entries where one of the `least` candidates is above it."""
    cut = bisect(candidates, count)
    # A loop of at most one turn, not a `cond`: under `vmap` it costs nothing where nobody needs it.
    turn = lambda state: (bisect(f, count), jnp.bool_(True))
    with jax.named_scope("crowded"):  # the name under which `benchmarks/tpu.py` leaves it out
        return jax.lax.while_loop(lambda state: ~state[1], turn, (cut, jnp.all(least <= cut)))[0]


def bisect(f: JaxArray, count: JaxArray | int) -> JaxArray:
    """The same by counts alone, each a sum over all devices where f is sharded."""
    f, count = jax.lax.stop_gradient(f), jnp.asarray(count, jnp.int32)
    return by_platform(Form(_bisect_passes), f, count, cpu=_by_rows(), cuda=_for_gpu())


def _for_gpu() -> Form:
    return Form(_bisect_passes, (("bits", GPU_BITS),))


def _by_rows() -> Form:
    return Form(_bisect_rows, (("added", 1 if current_mesh() is not None else ADDED),))


def _bisect_rows(f: JaxArray, count: JaxArray, added: int) -> JaxArray:
    return _bisect(f, count, 1, functools.partial(_size_by_rows, added=added))


def _bisect_passes(f: JaxArray, count: JaxArray, bits: int = BITS) -> JaxArray:
    return _bisect(f, count, bits, lambda found: jnp.sum(found, dtype=jnp.int32))


def _bisect(f: JaxArray, count: JaxArray, each: int, size: Callable[[JaxArray], JaxArray]) -> JaxArray:
    wide = f.dtype == jnp.float64
    floats, whole = (jnp.float64, jnp.int64) if wide else (jnp.float32, jnp.int32)
    # Floats of one sign are in the order of their bits.
    bits = jax.lax.bitcast_convert_type(jax.nn.relu(f).astype(floats), whole)
    counting = lambda guesses: [size(bits >= guess) for guess in guesses]
    cut = kth_largest(counting, count + 1, bits[(0,) * bits.ndim], each)
    greatest = jax.lax.bitcast_convert_type(jnp.asarray(jnp.finfo(floats).max, floats), whole)
    cut = jnp.clip(cut, jnp.zeros_like(cut), greatest)
    return jax.lax.bitcast_convert_type(cut, floats).astype(f.dtype)


def _size_by_rows(found: JaxArray, added: int) -> JaxArray:
    """How many are True. A CPU adds rows to rows 3.4 times as fast as all to one number."""
    if added == 1 or found.ndim != 2 or len(found) % added:
        return jnp.sum(found, dtype=jnp.int32)
    parts = found.reshape(-1, added, found.shape[1])
    return jnp.sum(sum(parts[:, i].astype(jnp.int32) for i in range(added)), dtype=jnp.int32)
