"""A sweep as packed suffixes: planned on the host, run piece by piece as one compiled program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ...core._blocks import layer_count
from ...core._check import concrete
from ...core._listing import survey
from ...core._run import run
from ...core._tap import Tap
from ...corpus._progress import advance, progress_bar, running
from ...mesh._gather import gather_weights, on_mesh
from ...metrics import Metric
from ...typing import BytesLike
from .._grid import Grid
from .._pairs import PatchingPair, known_columns
from ._plan import Piece, Plan, plan
from ._reads import DeviceRows
from ._rows import first_difference, starts
from ._runs import Base, base_run, patched_streams, read_streams


def packed(
    pair: PatchingPair,
    metric: Metric,
    read: Any,
    values: Any,
    grid: Grid,
    max_bytes: BytesLike,
    progress: bool,
) -> Array:
    """All cells as packed suffixes: (group, job, batch). `read` are the columns of the metric, `read_columns`."""
    model = pair.model
    layout = plan(grid, pair, *_suffixes(pair, grid, read, values), read.shape[-1], max_bytes)
    order = np.argsort(grid.groups[:, 0], kind="stable")
    single = (grid.groups[:, 0] == grid.groups[:, 1]).all()
    groups = grid.groups[order, :1] if single else grid.groups[order]
    results: list[Array] = []
    with progress_bar(len(layout.jobs), f"sweep of {grid.site}", unit="piece", progress=progress) as bar:
        base, donors = _prepare(
            model, pair.flat(pair.target), pair.flat(pair.source), pair.flat_mask, values, grid.site
        )
        for piece in layout.jobs:
            done = _piece(
                model,
                base,
                donors,
                _rows(layout, piece),
                _places(piece),
                jax.device_put(piece.index),
                jax.device_put(groups),
                jax.device_put(read),
                pair.flat_mask,
                metric,
                grid.site,
                pair.batch,
                layout.unembed,
            )
            running(bar)
            results.append(done)
            if len(results) > 1:  # the device has the next piece while the bar waits for this one
                _finished(results[-2], bar)
        _finished(results[-1], bar)
    # Jobs were dealt to the pieces, the last of which may hold some twice.
    jobs = np.unique(layout.order, return_index=True)[1]
    return _in_order(results, jax.device_put((jobs, np.argsort(order))))


def _finished(piece: Array, bar: Any) -> None:
    """Moves the bar on when a piece is computed, and not when it was sent to the device."""
    if not bar.disable and concrete(piece):
        piece.block_until_ready()
    advance(bar)


@eqx.filter_jit
def _in_order(results: list[Array], places: tuple[Array, Array]) -> Array:
    """The groups and jobs as the grid has them: one small program, where each operation would be another."""
    jobs, groups = places
    return jnp.concatenate(results, 1)[:, jobs][groups]


def read_columns(metric: Metric, pair: PatchingPair) -> Any:
    """The positions that the metric reads, counted from 0: (batch, n)."""
    batch, pos = int(np.prod(pair.batch)), pair.pos
    if metric.pos is None:
        return np.broadcast_to(np.arange(pos, dtype=np.int32), (batch, pos))
    at = known_columns(metric.pos, pos, pair.mask)
    n = at.shape[-1] if at.ndim else 1
    at = at.reshape(-1, n).astype(np.int32)
    return (np if concrete(at) else jnp).broadcast_to(at, (batch, n))


def _suffixes(pair: PatchingPair, grid: Grid, columns: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where each patch's suffix begins (batch, job), and behind which position nothing is read."""
    batch = len(columns)
    stop = np.full(batch, pair.pos, np.int32)
    if not pair.model.config.causal:
        return np.zeros((batch, grid.jobs), np.int32), stop
    if concrete(columns):
        stop = np.asarray(columns).max(-1) + 1
    first = np.zeros(batch, np.int32)
    if values is None and pair.same_kind and concrete(pair.target) and concrete(pair.source):
        first = first_difference(pair.flat(pair.source), pair.flat(pair.target))
    return starts(grid.index, grid.jobs, first, stop), stop


def _rows(layout: Plan, piece: Piece) -> DeviceRows:
    """Packed rows on the device, in chunks."""
    shape = (layout.chunks, layout.chunk_rows)
    packed = piece.rows
    start = np.take_along_axis(packed.start[packed.example], np.maximum(packed.job, 0), 1)
    fold = lambda leaf: jax.device_put(leaf.reshape(*shape, *leaf.shape[1:]))
    return DeviceRows(
        fold(packed.example),
        fold(packed.job),
        fold(packed.column),
        fold(np.where(packed.job >= 0, start, 0).astype(np.int32)),
        fold(packed.first),
        fold(packed.last),
        jax.device_put(np.int32(-(-packed.used // layout.chunk_rows))),
        layout.at_once,
    )


def _places(piece: Piece) -> tuple[Array, Array, Array]:
    """Row, slot and first position of each suffix, (batch, job)."""
    rows = piece.rows
    return jax.device_put((rows.row, rows.slot, rows.start))


@on_mesh
@eqx.filter_jit
def _prepare(
    model: Any, target: Array, source: Array, mask: Any, values: Any, site: str
) -> tuple[Base, Array]:
    rotary = "k_rot" in survey(model, target)
    same = target.dtype == source.dtype and target.ndim == source.ndim
    base, donors = base_run(model, target, mask, rotary, source if values is None and same else None, site)
    if donors is not None:
        return base, donors
    if values is None:
        _, acts = run(model, source, capture=[site], mask=mask, logits=False)
        return base, acts[site]
    if callable(values):
        _, acts = run(model, target, capture=[site], mask=mask, logits=False)
        values = values(acts[site])
    struct = survey(model, target)[site]
    return base, jnp.broadcast_to(values, (layer_count(model), *struct.shape)).astype(struct.dtype)


@on_mesh
@eqx.filter_jit
def _piece(
    model: Any,
    base: Base,
    donors: Array,
    rows: DeviceRows,
    placed: tuple[Array, Array, Array],
    index: dict[str, Array],
    groups: Array,
    columns: Array,
    mask: Array | None,
    metric: Metric,
    site: str,
    batch: tuple[int, ...],
    unembed: int,
) -> Array:
    """The metric of a piece's jobs: (group, job, batch), the batch flat."""
    streams = patched_streams(model, base, donors, rows, index, groups, mask, site)
    row, slot, start = placed

    def measured(cells: Array) -> Array:
        """The metric of some cells, whose streams are unembedded as one product."""

        def read(cell: Array) -> Array:
            group, job = cell // row.shape[1], cell % row.shape[1]
            return read_streams(streams, base, row[:, job], slot[:, job], start[:, job], columns, group)

        chosen = jax.vmap(read)(cells)  # (cell, batch, n, d)
        logits = gather_weights(model).unembed(chosen.reshape(-1, *chosen.shape[2:]), Tap())
        logits = logits.reshape(len(cells), *batch, *logits.shape[1:])
        # Ids are given once for each cell, which makes a gather of rows of it.
        ids = {
            i: jnp.broadcast_to(metric.args[i], (len(cells), *jnp.shape(metric.args[i]))) for i in metric.ids
        }

        def each(logits: Array, ids: dict[int, Array]) -> Array:
            args = tuple(ids.get(i, arg) for i, arg in enumerate(metric.args))
            own = dataclasses.replace(metric, args=args)
            return own.of(logits.squeeze(-2) if metric.one else logits).reshape(-1)

        return jax.vmap(each)(logits, ids)

    # As many cells at once as memory allows: the unembedding is large, and read anew each time.
    count = len(groups) * row.shape[1]
    steps = -(-count // unembed)
    size = -(-count // steps)
    cells = jnp.minimum(jnp.arange(steps * size, dtype=jnp.int32), count - 1).reshape(steps, size)
    values = lax.map(measured, cells) if steps > 1 else measured(cells[0])
    return values.reshape(steps * size, -1)[:count].reshape(len(groups), row.shape[1], -1)
