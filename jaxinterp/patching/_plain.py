"""A sweep as whole runs: for models that carry edits, and sites outside the blocks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._edit import Aimed
from .._edits import replace
from .._run import run
from .._sites import is_per_layer
from .._survey import layer_count, split_edits, survey
from .._where import selection
from ..metrics import Metric
from ._grid import Grid
from ._pairs import Pair


def plain(model: Any, pair: Pair, metric: Metric, values: Any, grid: Grid) -> Array:
    """All cells as whole runs, for edited models and sites outside the blocks: (group, job, batch)."""
    return _program(
        model, pair.flat(pair.target), pair.flat(pair.source), pair.flat_mask, metric, values,
        grid.site, jnp.asarray(grid.groups),
        {name: jnp.asarray(entry) for name, entry in grid.index.items()}, grid.jobs, pair.batch,
    )  # fmt: skip


@eqx.filter_jit
def _program(
    model: Any,
    target: Array,
    source: Array,
    mask: Any,
    metric: Metric,
    values: Any,
    site: str,
    groups: Array,
    index: dict[str, Array],
    jobs: int,
    batch: tuple[int, ...],
) -> Array:
    inner, own = split_edits(model)
    layered, count = is_per_layer(site), layer_count(inner)
    if values is None or callable(values):
        read = source if values is None else target
        _, acts = run(model, read, capture=[site], mask=mask, logits=False)
        donors = acts[site] if values is None else values(acts[site])
    else:
        struct = survey(inner, target, own)[site]
        shape = (count, *struct.shape) if layered else struct.shape
        donors = jnp.broadcast_to(values, shape).astype(struct.dtype)
    columns = metric.pos
    if columns is not None and jnp.ndim(columns) > 1:
        columns = jnp.asarray(columns).reshape(len(target), -1)

    def cell(number: Array) -> Array:
        group, job = number // jobs, number % jobs
        where = {}
        for name, entries in index.items():
            axis = entries.ndim - 1
            where[name] = lax.dynamic_index_in_dim(entries, job, axis, keepdims=axis > 0)
        if layered:
            layers = jnp.arange(count, dtype=jnp.int32)
            here = (layers >= groups[group, 0]) & (layers <= groups[group, 1])
            aim, base, _ = selection(site, {**where, "layer": here})
            edits = [_Layered(where=aim, site=base, layers=None, value=donors)]  # pyright: ignore[reportCallIssue]  # fmt: skip
        else:
            edits = [replace(site, donors, **where)]
        logits, _ = run(
            model, target, edits=edits, mask=mask, logits=True if columns is None else columns
        )
        return metric.of(logits.reshape(*batch, *logits.shape[1:])).reshape(-1)

    cells = jnp.arange(len(groups) * jobs, dtype=jnp.int32)
    found = lax.map(cell, cells, batch_size=min(8, len(cells)))
    return found.reshape(len(groups), jobs, -1)


class _Layered(Aimed):
    """Replaces a site by stacked values, at the layers of a mask."""

    value: Array

    def per_layer(self, shapes: Any) -> Any:
        return eqx.tree_at(lambda edit: edit.value, jax.tree.map(lambda _: False, self), True)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        value = jnp.broadcast_to(self.value, x.shape).astype(x.dtype)
        return self._select(tap, x, value), state
