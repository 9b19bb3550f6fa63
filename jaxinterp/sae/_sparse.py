r"""TopK without the zeros: decode, and the gradients of both matrices, from the k entries kept per row.

Of six dense products in a step one is left, the pre-activations. `benchmarks/sae_paths.py` measures.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ._shard import axes

GROUP = 16  # entries per group in the search for the largest; measured best of 16, 32, 64
SHARE = 12  # features per kept entry from which the sparse form is the faster one on CPUs


def pays(kind: Any, x: Any, k: int) -> bool:
    r"""Whether k kept entries per row are worked on one by one: $12 k \le m$, float32, on a CPU.

    Measured on two cores (d 512, batch 1,024): an entry costs about as much as 12 features
    of the dense products, in the decode and in all gradients. Accelerators, which do dense products
    at another price, and meshes, where features live apart, keep the dense form.
    """
    return (
        jax.default_backend() == "cpu"
        and axes() is None
        and kind.matmul == "float32"
        and x.dtype == jnp.float32
        and x.ndim == 2
        and k * SHARE <= kind.features
    )


def top(pre: Any, k: int) -> tuple[Any, Any]:
    r"""The k largest of each row `(..., m)` and where they are, as `jax.lax.top_k`, ties to the first.

    On a CPU in two stages: the largest of each group of 16 entries, then the entries of the k groups
    with the largest ones. Nothing is lost: groups whose largest exceeds the k-th entry are fewer than
    k, and among equal ones the first come first in both stages. 1.5 to 2.2 times as fast.

    Law: the same values at the same places as `jax.lax.top_k`.
    """
    m = pre.shape[-1]
    groups = m // GROUP
    if jax.default_backend() != "cpu" or m % GROUP or groups < 4 * k:
        values, at = jax.lax.top_k(pre, k)
        return values, at
    parts = pre.reshape(*pre.shape[:-1], groups, GROUP)
    _, chosen = jax.lax.top_k(jnp.max(parts, -1), k)
    chosen = jnp.sort(chosen, -1)
    few = jnp.take_along_axis(parts, chosen[..., None], -2).reshape(*pre.shape[:-1], k * GROUP)
    values, at = jax.lax.top_k(few, k)
    return values, jnp.take_along_axis(chosen, at // GROUP, -1) * GROUP + at % GROUP


def spread(values: Any, where: Any, m: int) -> Any:
    """Rows `(batch, m)` with values at their places, 0 elsewhere."""
    row = lambda v, w: jnp.zeros((m,), v.dtype).at[w].set(v, unique_indices=True)
    return jax.vmap(row)(values, where)


def fired(values: Any, where: Any, m: int) -> tuple[Any, Any]:
    """Which features `(m,)` are above 0 in some row, and the mean number of them in a row."""
    active = values > 0
    seen = jnp.zeros((m,), bool).at[where].max(active)
    return seen, jnp.sum(active, dtype=jnp.float32) / active.shape[0]


def _columns(a: Any) -> Any:
    return jnp.moveaxis(a, -1, 0)


def _combine(values: Any, where: Any, rows: Any) -> Any:
    r"""$y_b = \sum_j v_{bj}\, r_{w_{bj}}$, entry by entry: no array (batch, k, d) is made."""

    def one(total: Any, entry: Any) -> Any:
        value, at = entry
        return total + value[:, None] * rows[at], None

    first = jnp.zeros((values.shape[0], rows.shape[1]), rows.dtype)
    return jax.lax.scan(one, first, (_columns(values), _columns(where)))[0]


def _project(g: Any, where: Any, rows: Any) -> Any:
    r"""$v_{bj} = g_b \cdot r_{w_{bj}}$."""
    return jax.lax.map(lambda at: jnp.sum(g * rows[at], -1), _columns(where)).T


def _gather_outer(values: Any, where: Any, g: Any, m: int) -> Any:
    r"""$G_i = \sum_{b, j: w_{bj} = i} v_{bj}\, g_b$, `(m, d)`: row by row, so that places never meet."""

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


def _entries_forward(
    values: Any, where: Any, x: Any, bias: Any, encoder: Any, encoder_bias: Any
) -> Any:
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


def keep(kind: Any, x: Any, pre: Any, k: int) -> tuple[Any, Any]:
    """The k largest of `pre (batch, m)` in each row, with their gradients to `kind`'s weights.

    `x` are the inputs of `kind.pre`; entries of `pre` that are not finite count as 0.
    """
    values, where = top(jax.lax.stop_gradient(pre), k)
    known = jnp.isfinite(values)
    bias = kind.bias if kind.centred else jnp.zeros_like(kind.bias)
    values = jnp.where(known, values, 0)
    values = entries(values, where, x * kind.scale, bias, kind.encoder, kind.encoder_bias)
    return jnp.where(known, values, 0), where
