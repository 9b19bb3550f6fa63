"""A sweep as whole runs: for models that carry edits, and sites outside the blocks."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..core._blocks import layer_count
from ..core._check import concrete
from ..core._edit import Aimed
from ..core._edits import replace
from ..core._intervene import Intervened, split_edits
from ..core._listing import survey
from ..core._run import run
from ..core._select import POSITIONS, selection
from ..core._sites import axes_of, is_per_layer
from ..corpus._progress import advance, progress_bar, running
from ..mesh._gather import on_mesh
from ..metrics import Metric
from ._gradients import positions
from ._grid import Grid
from ._pairs import PatchingPair


def plain(pair: PatchingPair, metric: Metric, values: Any, grid: Grid, progress: bool) -> Array:
    """All cells as whole runs, for edited models and sites outside the blocks: (group, job, batch)."""
    with progress_bar(1, f"sweep of {grid.site}", unit="program", progress=progress) as bar:
        found = _program(
            pair.model if not pair.own else Intervened(pair.model, pair.own),
            pair.target,
            pair.source,
            pair.mask,
            metric,
            values,
            grid.site,
            jnp.asarray(grid.groups),
            _columns(grid, pair),
            grid.jobs,
        )
        running(bar)
        if progress and concrete(found):
            found.block_until_ready()
        advance(bar)
    return found


def _columns(grid: Grid, pair: PatchingPair) -> dict[str, Array]:
    """The entries of each job `(job,)`; positions as masks of columns, `(*batch, job, pos)`."""
    index = {}
    for name, entries in grid.index.items():
        index[name] = jnp.asarray(entries)
        if name in POSITIONS:
            hit = entries[..., None] == np.arange(pair.pos)
            index[name] = jnp.asarray(hit.reshape(*pair.batch * (entries.ndim > 1), *hit.shape[-2:]))
    return index


@on_mesh
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
) -> Array:
    inner, own = split_edits(model)
    layered, count = is_per_layer(site), layer_count(inner)
    read = source if values is None else target
    struct = survey(inner, read, own)[site]
    shape = (count, *struct.shape) if layered else struct.shape
    # Values have one batch axis.
    ends = int(layered), len(shape) - len(axes_of(site))
    flat = (*shape[: ends[0]], math.prod(shape[slice(*ends)]), *shape[ends[1] :])
    if values is None or callable(values):
        _, acts = run(model, read, capture=[site], mask=mask, logits=False)
        here = acts[site]
        donors = here if values is None else jnp.asarray(values(here.reshape(flat))).reshape(shape)
    else:
        donors = jnp.broadcast_to(values, flat).astype(struct.dtype).reshape(shape)

    def cell(number: Array) -> Array:
        group, job = number // jobs, number % jobs
        where = {}
        for name, entries in index.items():
            axis = entries.ndim - 1 - (name in POSITIONS)
            where[name] = lax.dynamic_index_in_dim(entries, job, axis, keepdims=False)
        if layered:
            layers = jnp.arange(count, dtype=jnp.int32)
            here = (layers >= groups[group, 0]) & (layers <= groups[group, 1])
            aim, base, _ = selection(site, {**where, "layer": here})
            edits = [_Layered(where=aim, site=base, layers=None, value=donors)]
        else:
            edits = [replace(site, donors, **where)]
        logits, _ = run(model, target, edits=edits, mask=mask, logits=positions(metric))
        return metric.of(logits).reshape(-1)

    cells = jnp.arange(len(groups) * jobs, dtype=jnp.int32)
    values_of_cells = lax.map(cell, cells, batch_size=min(8, len(cells)))
    return values_of_cells.reshape(len(groups), jobs, -1)


class _Layered(Aimed):
    """Replaces a site by stacked values, at the layers of a mask."""

    value: Array

    def per_layer(self, shapes: Any) -> Any:
        return eqx.tree_at(lambda edit: edit.value, jax.tree.map(lambda _: False, self), True)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        value = jnp.broadcast_to(self.value, x.shape).astype(x.dtype)
        return self.where_selected(tap, x, value), state
