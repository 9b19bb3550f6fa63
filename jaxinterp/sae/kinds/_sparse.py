r"""TopK without the zeros: decode, and the gradients of both matrices, from the k entries kept per row.

Of six dense products in a step one is left, the pre-activations, and they are never all there at
once. `benchmarks/sae_paths.py` measures.
"""

import math
import os
from typing import Any

import jax
import jax.numpy as jnp

from ...mesh._dictionaries import current_mesh
from ...typing import JaxArray

GROUP = 16  # entries per group in the search for the largest; measured best of 16, 32, 64
ROWS = 512  # rows of a batch whose pre-activations are made together
SHARE = 12  # features per kept entry from which the sparse form is the faster one on CPUs


def kernels() -> Any:
    """The same as kernels for a GPU, where `JAXINTERP_PALLAS=1` asks for them: `_pallas`."""
    if os.environ.get("JAXINTERP_PALLAS") != "1":
        return None
    from . import _pallas  # not at import time: it takes a while

    return _pallas


def pays(dictionary: Any, x: JaxArray, k: int) -> bool:
    r"""Whether k kept entries per row are worked on one by one: $12 k \le m$, float32, on a CPU.

    Measured on two cores (d 512, batch 1,024): an entry costs about as much as 12 features
    of the dense products, in the decode and in all gradients. Accelerators, which do dense products
    at another price, and meshes, where features live apart, keep the dense form; `kernels` on
    accelerators are for those who ask.
    """
    return (
        (jax.default_backend() == "cpu" or kernels() is not None)
        and current_mesh() is None
        and dictionary.kind.matmul == "float32"
        and x.dtype == jnp.float32
        and x.ndim == 2
        and k * SHARE <= dictionary.features
    )


def top(pre: Any, k: int) -> tuple[Any, Any]:
    r"""The k largest of each row `(..., m)` and where they are, as `jax.lax.top_k`, ties to the first.

    On a CPU in two stages: the largest of each group of 16 entries, then the entries of the k groups
    with the largest ones. Nothing is lost: groups whose largest exceeds the k-th entry are fewer than
    k, and among equal ones the first come first in both stages. 1.5 to 2.2 times as fast.

    Law: the same values at the same places as `jax.lax.top_k`.
    """
    m = pre.shape[-1]
    if not grouped(m, k):
        values, at = jax.lax.top_k(pre, k)
        return values, at
    parts = pre.reshape(*pre.shape[:-1], m // GROUP, GROUP)
    return _in_groups(parts, jnp.max(parts, -1), k)


def grouped(m: int, k: int) -> bool:
    """Whether the k largest of m are looked for in two stages."""
    return jax.default_backend() == "cpu" and not m % GROUP and m // GROUP >= 4 * k


def _in_groups(parts: Any, most: Any, k: int) -> tuple[Any, Any]:
    """The k largest of `parts (..., group, GROUP)`, given the largest of each group."""
    _, chosen = jax.lax.top_k(most, k)
    chosen = jnp.sort(chosen, -1)
    few = jnp.take_along_axis(parts, chosen[..., None], -2).reshape(*most.shape[:-1], k * GROUP)
    values, at = jax.lax.top_k(few, k)
    return values, jnp.take_along_axis(chosen, at // GROUP, -1) * GROUP + at % GROUP


def chosen(dictionary: Any, x: JaxArray, k: int, among: JaxArray | None = None) -> tuple[JaxArray, JaxArray]:
    r"""`top(dictionary.pre(x), k)` of x `(batch, d)`, without the array `(batch, m)`; `among (m,)` features.

    Blocks of rows, whose pre-activations stay in the cache, features first: XLA multiplies a tall
    matrix by a narrow one at 1.3 times the rate of `x @ encoder`, and the memory of all
    pre-activations, which costs as much to ask for as to fill, is never asked for.
    """
    batch, m = len(x), dictionary.features
    rows = max(n for n in range(1, ROWS + 1) if not batch % n)
    encoder = dictionary.encoder.T
    x = x * dictionary.scale
    x = x - dictionary.bias[None] if dictionary.kind.centred else x

    def one(part: Any) -> tuple[Any, Any]:
        pre = jnp.matmul(encoder, part.T, precision="highest") + dictionary.encoder_bias[:, None]
        if among is not None:
            pre = jnp.where(jnp.broadcast_to(among, (m,))[:, None], pre, -jnp.inf)
        if not grouped(m, k):
            values, at = jax.lax.top_k(pre.T, k)
            return values, at
        most = jnp.max(pre.reshape(m // GROUP, GROUP, rows), 1)
        return _in_groups(pre.T.reshape(rows, m // GROUP, GROUP), most.T, k)

    values, where = jax.lax.map(one, x.reshape(batch // rows, rows, -1))
    return values.reshape(batch, k), where.reshape(batch, k)


def spread(values: Any, where: Any, m: int) -> Any:
    """Rows `(batch, m)` with values at their places, 0 elsewhere."""
    row = lambda v, w: jnp.zeros((m,), v.dtype).at[w].set(v, unique_indices=True)
    return jax.vmap(row)(values, where)


def fired(values: Any, where: Any, m: int) -> tuple[Any, Any]:
    """Which features `(m,)` are not 0 in some row, and the mean number of them in a row."""
    active = values != 0
    seen = jnp.zeros((m,), bool).at[where].max(active)
    return seen, jnp.sum(active, dtype=jnp.float32) / active.shape[0]


def _combine(values: Any, where: Any, rows: Any) -> Any:
    r"""$y_b = \sum_j v_{bj}\, r_{w_{bj}}$, four entries at a time: no array (batch, k, d) is made."""
    if other := kernels():
        return other.combine(values, where, rows)
    pad = -values.shape[1] % 4
    values, where = (jnp.pad(a, ((0, 0), (0, pad))).T.reshape(-1, 4, len(a)) for a in (values, where))

    def one(total: Any, entry: Any) -> Any:
        for value, at in zip(*entry, strict=True):
            total = total + value[:, None] * rows[at]
        return total, None

    first = jnp.zeros((values.shape[-1], rows.shape[1]), rows.dtype)
    return jax.lax.scan(one, first, (values, where))[0]


def _project(g: Any, where: Any, rows: Any) -> Any:
    r"""$v_{bj} = g_b \cdot r_{w_{bj}}$, some rows at a time."""
    if other := kernels():
        return other.project(g, where, rows)
    few = math.gcd(8, len(g))

    def one(part: tuple[Any, Any]) -> Any:
        g, where = part
        return jnp.einsum("bkd,bd->bk", rows[where], g, precision="highest")

    parts = g.reshape(-1, few, g.shape[1]), where.reshape(-1, few, where.shape[1])
    return jax.lax.map(one, parts).reshape(where.shape)


def _gather_outer(values: Any, where: Any, g: Any, m: int) -> Any:
    r"""$G_i = \sum_{b, j: w_{bj} = i} v_{bj}\, g_b$, `(m, d)`: row by row, so that places never meet."""
    if other := kernels():
        return other.gather_outer(values, where, g, m)

    def one(b: Any, total: Any) -> Any:
        update = values[b][:, None] * g[b][None]
        return total.at[where[b]].add(update, unique_indices=True)

    return jax.lax.fori_loop(0, values.shape[0], one, jnp.zeros((m, g.shape[1]), g.dtype))


@jax.custom_vjp
def decoded(values: Any, where: Any, decoder: Any) -> Any:
    r"""$\hat x_b = \sum_j v_{bj}\, d_{w_{bj}}$ `(batch, d)` of entries `(batch, k)`; k different places a row.

    Law: the value and the gradients of `spread(values, where, m) @ decoder`.
    """
    return _combine(values, where, decoder)


def _decoded_forward(values: Any, where: Any, decoder: Any) -> Any:
    return _combine(values, where, decoder), (values, where, decoder)


def _decoded_backward(kept: Any, g: Any) -> Any:
    values, where, decoder = kept
    slope = _gather_outer(values, where, g, decoder.shape[0])
    return _project(g, where, decoder), None, slope


decoded.defvjp(_decoded_forward, _decoded_backward)


@jax.custom_vjp
def entries(values: Any, where: Any, x: Any, bias: Any, encoder: Any, encoder_bias: Any) -> Any:
    r"""$\pi_{b, w_{bj}} = (x_b - b) \cdot e_{w_{bj}} + b^e_{w_{bj}}$: `values`, which are these numbers already.

    Only their gradient is new: of columns of the encoder that were kept. That of the bias is
    $-W_e \sum_b g_b$, a product with one vector.
    """
    return values


def _entries_forward(values: Any, where: Any, x: Any, bias: Any, encoder: Any, encoder_bias: Any) -> Any:
    return values, (where, x, bias, encoder)


def _entries_backward(kept: Any, g: Any) -> Any:
    where, x, bias, encoder = kept
    m = encoder.shape[1]
    total = jnp.zeros((m,), g.dtype).at[where].add(g)
    slope = _gather_outer(g, where, x - bias[None], m).T
    back = -jnp.matmul(encoder, total, precision="highest")
    # That of x is asked for by nobody in training, and then not computed.
    return jnp.zeros_like(g), None, _combine(g, where, encoder.T), back, slope, total


entries.defvjp(_entries_forward, _entries_backward)


def keep(dictionary: Any, x: JaxArray, k: int, among: JaxArray | None = None) -> tuple[JaxArray, JaxArray]:
    """The k largest pre-activations of each row of x `(batch, d)`, with their gradients to the weights.

    Only of the features `among (m,)`, where given; what is not finite counts as 0.
    """
    values, where = chosen(jax.lax.stop_gradient(dictionary), jax.lax.stop_gradient(x), k, among)
    known = jnp.isfinite(values)
    bias = dictionary.bias if dictionary.kind.centred else jnp.zeros_like(dictionary.bias)
    values = jnp.where(known, values, 0)
    values = entries(values, where, x * dictionary.scale, bias, dictionary.encoder, dictionary.encoder_bias)
    return jnp.where(known, values, 0), where
