r"""TopK without the zeros: decoding, and the gradients of both matrices, from the k entries of each row.

A step has six dense products. One is left, the pre-activations, and they are never all in memory at
once. `benchmarks/sae_paths.py` measures it.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from ...core._top import top_of_rows
from ...mesh._dictionaries import current_mesh
from ...typing import JaxArray

GROUP = 16  # entries per group in the search for the largest; measured best of 16, 32, 64
ROWS = 512  # rows of a batch whose pre-activations are made together
SHARE = 12  # features per entry from which the sparse form is the faster one on CPUs


def is_sparse_faster(dictionary: Any, x: JaxArray, k: int) -> bool:
    r"""Whether a CPU gains by working on k entries per row, one by one: $12 k \le m$, float32.

    Measured on two cores (d 512, batch 1,024): an entry costs about as much as 12 features of the dense
    products, in the decoder and in all gradients. Accelerators have other costs, and on a mesh the features
    are on different devices: both use the dense form.
    """
    return (
        current_mesh() is None
        and dictionary.kind.matmul == "float32"
        and x.dtype == jnp.float32
        and x.ndim == 2
        and k * SHARE <= dictionary.features
    )


def largest_of_rows(pre: JaxArray, k: int) -> tuple[JaxArray, JaxArray]:
    r"""The k largest entries of each row `(..., m)` and their places; among equal ones the first.

    On a CPU it has two stages: the largest entry of each group of 16, then the entries of the k groups with
    the largest ones. No entry is missed: fewer than k groups have an entry above the k-th largest, and
    among equal entries the first come first in both stages. It is 1.5 to 2.2 times as fast.

    Law: the same values at the same places as `jax.lax.top_k`.
    """
    m = pre.shape[-1]
    if not has_two_stages(m, k):
        return top_of_rows(pre, k)

    def two_stages(pre: JaxArray) -> tuple[JaxArray, JaxArray]:
        parts = pre.reshape(*pre.shape[:-1], m // GROUP, GROUP)
        return _largest_of_groups(parts, jnp.max(parts, -1), k)

    return jax.lax.platform_dependent(pre, cpu=two_stages, default=lambda pre: top_of_rows(pre, k))


def has_two_stages(m: int, k: int) -> bool:
    """Whether a CPU searches the k largest of m entries in two stages."""
    return not m % GROUP and m // GROUP >= 4 * k


def _largest_of_groups(parts: JaxArray, maxima: JaxArray, k: int) -> tuple[JaxArray, JaxArray]:
    """The k largest entries of `parts (..., group, GROUP)`; `maxima (..., group)` of the groups."""
    _, groups = jax.lax.top_k(maxima, k)
    groups = jnp.sort(groups, -1)
    candidates = jnp.take_along_axis(parts, groups[..., None], -2).reshape(*maxima.shape[:-1], k * GROUP)
    values, at = jax.lax.top_k(candidates, k)
    return values, jnp.take_along_axis(groups, at // GROUP, -1) * GROUP + at % GROUP


def largest_pre_activations(
    dictionary: Any, x: JaxArray, k: int, among: JaxArray | None = None
) -> tuple[JaxArray, JaxArray]:
    r"""`largest_of_rows(dictionary.pre(x), k)` of x `(batch, d)`, without an array `(batch, m)`.

    Only the features `among (m,)` count. The rows go in blocks whose pre-activations stay in the cache,
    features first: XLA multiplies a tall matrix by a narrow one at 1.3 times the rate of `x @ encoder`, and
    the memory of all pre-activations, which costs as much to allocate as to fill, is never allocated.
    """
    batch, m = len(x), dictionary.features
    rows = max(n for n in range(1, ROWS + 1) if not batch % n)
    encoder = dictionary.encoder.T
    x = x * dictionary.scale
    x = x - dictionary.bias[None] if dictionary.kind.centred else x

    def block(part: JaxArray) -> tuple[JaxArray, JaxArray]:
        pre = jnp.matmul(encoder, part.T, precision="highest") + dictionary.encoder_bias[:, None]
        if among is not None:
            pre = jnp.where(jnp.broadcast_to(among, (m,))[:, None], pre, -jnp.inf)
        if not has_two_stages(m, k):
            values, at = jax.lax.top_k(pre.T, k)
            return values, at
        maxima = jnp.max(pre.reshape(m // GROUP, GROUP, rows), 1)
        return _largest_of_groups(pre.T.reshape(rows, m // GROUP, GROUP), maxima.T, k)

    values, where = jax.lax.map(block, x.reshape(batch // rows, rows, -1))
    return values.reshape(batch, k), where.reshape(batch, k)


def dense_rows(values: JaxArray, where: JaxArray, m: int) -> JaxArray:
    """Rows `(batch, m)` with the values at their places and 0 elsewhere."""
    row = lambda v, w: jnp.zeros((m,), v.dtype).at[w].set(v, unique_indices=True)
    return jax.vmap(row)(values, where)


def active_features(values: JaxArray, where: JaxArray, m: int) -> tuple[JaxArray, JaxArray]:
    """Which features `(m,)` are not 0 in some row, and their mean number per row."""
    active = values != 0
    seen = jnp.zeros((m,), bool).at[where].max(active)
    return seen, jnp.sum(active, dtype=jnp.float32) / active.shape[0]


def _combine(values: JaxArray, where: JaxArray, rows: JaxArray) -> JaxArray:
    r"""$y_b = \sum_j v_{bj}\, r_{w_{bj}}$, four entries at a time: no array (batch, k, d) is made."""
    pad = -values.shape[1] % 4
    values, where = (jnp.pad(a, ((0, 0), (0, pad))).T.reshape(-1, 4, len(a)) for a in (values, where))

    def add_four(total: JaxArray, entry: tuple[JaxArray, JaxArray]) -> tuple[JaxArray, None]:
        for value, at in zip(*entry, strict=True):
            total = total + value[:, None] * rows[at]
        return total, None

    first = jnp.zeros((values.shape[-1], rows.shape[1]), rows.dtype)
    return jax.lax.scan(add_four, first, (values, where))[0]


def _project(g: JaxArray, where: JaxArray, rows: JaxArray) -> JaxArray:
    r"""$v_{bj} = g_b \cdot r_{w_{bj}}$, eight rows at a time where they divide the batch."""
    block = math.gcd(8, len(g))

    def one(part: tuple[JaxArray, JaxArray]) -> JaxArray:
        g, where = part
        return jnp.einsum("bkd,bd->bk", rows[where], g, precision="highest")

    parts = g.reshape(-1, block, g.shape[1]), where.reshape(-1, block, where.shape[1])
    return jax.lax.map(one, parts).reshape(where.shape)


def _gather_outer(values: JaxArray, where: JaxArray, g: JaxArray, m: int) -> JaxArray:
    r"""$G_i = \sum_{b, j: w_{bj} = i} v_{bj}\, g_b$, `(m, d)`: row by row, so that places never meet."""

    def add_row(b: JaxArray, total: JaxArray) -> JaxArray:
        update = values[b][:, None] * g[b][None]
        return total.at[where[b]].add(update, unique_indices=True)

    return jax.lax.fori_loop(0, values.shape[0], add_row, jnp.zeros((m, g.shape[1]), g.dtype))


@jax.custom_vjp
def decode_entries(values: JaxArray, where: JaxArray, decoder: JaxArray) -> JaxArray:
    r"""$\hat x_b = \sum_j v_{bj}\, d_{w_{bj}}$ `(batch, d)` of entries `(batch, k)`; k different places a row.

    Law: the value and the gradients of `dense_rows(values, where, m) @ decoder`.
    """
    return _combine(values, where, decoder)


def _decode_entries_forward(
    values: JaxArray, where: JaxArray, decoder: JaxArray
) -> tuple[JaxArray, tuple[JaxArray, ...]]:
    return _combine(values, where, decoder), (values, where, decoder)


def _decode_entries_backward(saved: tuple[JaxArray, ...], g: JaxArray) -> Any:
    values, where, decoder = saved
    slope = _gather_outer(values, where, g, decoder.shape[0])
    return _project(g, where, decoder), None, slope


decode_entries.defvjp(_decode_entries_forward, _decode_entries_backward)


@jax.custom_vjp
def with_weights(
    values: JaxArray, where: JaxArray, x: JaxArray, bias: JaxArray, encoder: JaxArray, encoder_bias: JaxArray
) -> JaxArray:
    r"""$\pi_{b, w_{bj}} = (x_b - b) \cdot e_{w_{bj}} + b^e_{w_{bj}}$: `values`, which are these numbers already.

    Only the gradient is new: it reaches the columns of the encoder that the entries are of. The gradient
    of the bias is $-W_e \sum_b g_b$, a product with one vector.
    """
    return values


def _with_weights_forward(
    values: JaxArray, where: JaxArray, x: JaxArray, bias: JaxArray, encoder: JaxArray, encoder_bias: JaxArray
) -> tuple[JaxArray, tuple[JaxArray, ...]]:
    return values, (where, x, bias, encoder)


def _with_weights_backward(saved: tuple[JaxArray, ...], g: JaxArray) -> Any:
    where, x, bias, encoder = saved
    m = encoder.shape[1]
    total = jnp.zeros((m,), g.dtype).at[where].add(g)
    slope = _gather_outer(g, where, x - bias[None], m).T
    back = -jnp.matmul(encoder, total, precision="highest")
    # Nobody asks for the gradient of x in training, and then it is not computed.
    return jnp.zeros_like(g), None, _combine(g, where, encoder.T), back, slope, total


with_weights.defvjp(_with_weights_forward, _with_weights_backward)


def largest_with_gradients(
    dictionary: Any, x: JaxArray, k: int, among: JaxArray | None = None
) -> tuple[JaxArray, JaxArray]:
    """The k largest pre-activations of each row of x `(batch, d)`, with gradients to the weights.

    Only the features `among (m,)` count, by default all. What is not finite counts as 0.
    """
    values, where = largest_pre_activations(
        jax.lax.stop_gradient(dictionary), jax.lax.stop_gradient(x), k, among
    )
    finite = jnp.isfinite(values)
    bias = dictionary.bias if dictionary.kind.centred else jnp.zeros_like(dictionary.bias)
    values = jnp.where(finite, values, 0)
    values = with_weights(
        values, where, x * dictionary.scale, bias, dictionary.encoder, dictionary.encoder_bias
    )
    return jnp.where(finite, values, 0), where
