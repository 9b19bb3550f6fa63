r"""Entry by entry as Pallas kernels, for a GPU: what `_sparse` does there with loops on a CPU.

They are used where `JAXINTERP_PALLAS=1` asks for them, and never otherwise: they have been run
interpreted (on a CPU, slowly, as the tests do) and on no GPU, so nothing says that they beat the dense
products. Triton needs a width d that is a power of two.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl


def _interpret() -> bool:
    return jax.default_backend() == "cpu"


def _combine(values: Any, where: Any, rows: Any, out: Any) -> None:
    """One row of the batch: its k rows of `rows`, weighted and summed."""

    def one(j: Any, total: Any) -> Any:
        return total + values[0, j] * rows[where[0, j], :]

    out[0, :] = jax.lax.fori_loop(0, values.shape[1], one, jnp.zeros(rows.shape[1:], out.dtype))


def _project(g: Any, where: Any, rows: Any, out: Any) -> None:
    """One row of the batch: its gradient along each of its k rows of `rows`."""

    def one(j: Any, _: Any) -> Any:
        out[0, j] = jnp.sum(g[0, :] * rows[where[0, j], :])
        return 0

    jax.lax.fori_loop(0, where.shape[1], one, 0)


def _gather_outer(first: Any, last: Any, values: Any, row: Any, g: Any, out: Any) -> None:
    """One feature: the rows of g of its entries, which lie side by side once they are sorted."""

    def one(j: Any, total: Any) -> Any:
        return total + values[j] * g[row[j], :]

    out[0, :] = jax.lax.fori_loop(first[0], last[0], one, jnp.zeros(g.shape[1:], out.dtype))


def _line(n: int) -> Any:
    return pl.BlockSpec((1, n), lambda i: (i, 0))


def _whole(*shape: int) -> Any:
    return pl.BlockSpec(shape, lambda i: (0,) * len(shape))


def combine(values: Any, where: Any, rows: Any) -> Any:
    r"""$y_b = \sum_j v_{bj}\, r_{w_{bj}}$ `(batch, d)` of entries `(batch, k)` and `rows (m, d)`."""
    (batch, k), (m, d) = values.shape, rows.shape
    return pl.pallas_call(
        _combine,
        grid=(batch,),
        in_specs=[_line(k), _line(k), _whole(m, d)],
        out_specs=_line(d),
        out_shape=jax.ShapeDtypeStruct((batch, d), rows.dtype),
        interpret=_interpret(),
    )(values, where, rows)


def project(g: Any, where: Any, rows: Any) -> Any:
    r"""$v_{bj} = g_b \cdot r_{w_{bj}}$ `(batch, k)`."""
    (batch, k), (m, d) = where.shape, rows.shape
    return pl.pallas_call(
        _project,
        grid=(batch,),
        in_specs=[_line(d), _line(k), _whole(m, d)],
        out_specs=_line(k),
        out_shape=jax.ShapeDtypeStruct((batch, k), rows.dtype),
        interpret=_interpret(),
    )(g, where, rows)


def gather_outer(values: Any, where: Any, g: Any, m: int) -> Any:
    r"""$G_i = \sum_{b, j: w_{bj} = i} v_{bj}\, g_b$ `(m, d)`: sorted, so that no two programs meet."""
    (batch, k), d = values.shape, g.shape[1]
    flat = where.reshape(-1)
    order = jnp.argsort(flat)
    last = jnp.cumsum(jnp.bincount(flat, length=m)).astype(jnp.int32)
    first = jnp.concatenate([jnp.zeros((1,), jnp.int32), last[:-1]])
    one, n = pl.BlockSpec((1,), lambda i: (i,)), batch * k
    return pl.pallas_call(
        _gather_outer,
        grid=(m,),
        in_specs=[one, one, _whole(n), _whole(n), _whole(batch, d)],
        out_specs=_line(d),
        out_shape=jax.ShapeDtypeStruct((m, d), g.dtype),
        interpret=_interpret(),
    )(first, last, values.reshape(-1)[order], (order // k).astype(jnp.int32), g)
