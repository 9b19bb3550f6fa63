r"""The k largest entries of rows: which they are, found in the way that the platform is good at, and their values."""

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import is_divisible
from ...typing import JaxArray
from ._cut import BITS, GPU_BITS, cuts_of_rows, is_among, ordered
from ._cut_kernel import cuts_by_kernel, fits_kernel
from ._cut_on_mesh import largest_entries
from ._platforms import Form, by_platform
from ._rows import align
from ._sparse import largest_of_rows

Choice = tuple[JaxArray, ...]
"Which entries of rows are chosen: the cuts of rows `(batch, 1)`, two arrays; on a mesh `(batch, features)` of bools."


def keep_largest(
    pre: JaxArray, k: int, limit: JaxArray | None = None, among: JaxArray | None = None
) -> JaxArray:
    """Rows with all but their k largest entries 0, or `limit` of them; ties go to the first.

    What is not finite becomes 0 too, and features that are not `among (features,)`.
    """
    rows = pre.reshape(-1, pre.shape[-1])  # `lax.top_k` of three axes is a full sort on a TPU
    return kept(rows, choose_largest(rows, k, limit, among), among).reshape(pre.shape)


def choose_largest(
    pre: JaxArray, k: int, limit: JaxArray | None = None, among: JaxArray | None = None
) -> Choice:
    """Which entries of `pre (batch, features)` are among the k largest of their rows. No gradient flows.

    A CPU searches for the largest entries. Accelerators count, without a sort: a TPU in a kernel, where the
    rows fit it.
    """
    pre = jax.lax.stop_gradient(pre)
    most = jnp.asarray(k if limit is None else limit, jnp.int32)
    if is_divisible(pre):
        return (largest_entries(pre, most, among),)
    options = (("k", k),)
    forms = {"cpu": Form(_by_search, options), "cuda": Form(_by_counts, (("bits", GPU_BITS),))}
    if fits_kernel(pre.shape, pre.dtype):
        forms["tpu"] = Form(_by_kernel, options)
    return by_platform(Form(_by_counts), pre, most, among, **forms)


def kept(pre: JaxArray, choice: Choice, among: JaxArray | None = None) -> JaxArray:
    """The entries that `choose_largest` chose, among the same; the others, and what is not finite, are 0."""
    hidden = _hidden(jax.lax.stop_gradient(pre), among)
    if len(choice) == 1:
        (chosen,) = choice
    else:
        cut, last = choice
        chosen = is_among(ordered(hidden), cut, last, _columns(pre))
    return jnp.where(chosen & jnp.isfinite(hidden), pre, 0)


def moved(choice: Choice, first: JaxArray | int) -> Choice:
    """The choice for entries whose first column is the column `first` of the whole rows."""
    cut, last = choice
    return cut, last - first


def _hidden(pre: JaxArray, among: JaxArray | None) -> JaxArray:
    return pre if among is None else jnp.where(align(among, pre), pre, -jnp.inf)


def _columns(pre: JaxArray) -> JaxArray:
    return jnp.arange(pre.shape[-1], dtype=jnp.int32)[None]


def _by_search(pre: JaxArray, most: JaxArray, among: JaxArray | None, k: int) -> Choice:
    """The last of the largest entries is the cut, and where it stands the last column."""
    values, where = largest_of_rows(_hidden(pre, among), k)
    at = jnp.broadcast_to(most - 1, (len(pre), 1))
    value, column = (jnp.take_along_axis(found, at, -1) for found in (values, where))
    return ordered(value), column.astype(jnp.int32)


def _by_counts(pre: JaxArray, most: JaxArray, among: JaxArray | None, bits: int = BITS) -> Choice:
    return cuts_of_rows(ordered(_hidden(pre, among)), most, _columns(pre), bits=bits)


def _by_kernel(pre: JaxArray, most: JaxArray, among: JaxArray | None, k: int) -> Choice:
    return cuts_by_kernel(pre, jnp.broadcast_to(most, (len(pre), 1)), among, most=k)
