r"""Activation patching over every cell of a grid: $H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from .._check import check_selector, concrete
from .._edit import Aimed
from .._edits import replace
from .._run import run
from .._sites import is_per_layer
from .._survey import layer_count, split_edits, survey
from .._tap import Tap
from .._where import selection
from ..metrics import Metric, as_metric
from ._grid import Grid, make_grid
from ._memory import Piece, Plan, plan
from ._pack import first_difference, starts
from ._pairs import Pair, make_pair
from ._suffix import Base, Rows, base_run, patched_streams, read_streams


def sweep(
    model: Any,
    clean: Any,
    corrupt: Any,
    metric: Any,
    *,
    site: str | Sequence[str] = "resid_pre",
    over: Sequence[str] | Mapping[str, Any] = ("layer", "pos"),
    direction: str = "denoise",
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    per_example: bool = False,
    window: int = 1,
    max_bytes: int | str = "auto",
    progress: bool = True,
) -> Float[Array, "*cells"]:
    r"""$H_c = m\big(M(x \mid A_c \leftarrow A_c(x'))\big)$: the metric after patching each cell $c$ alone.

    Activation patching, Vig et al. 2020 (https://arxiv.org/abs/2004.12265), Meng et al. 2022
    (https://arxiv.org/abs/2202.05262), Wang et al. 2022 (https://arxiv.org/abs/2211.00593).

    **Arguments:**

    - `model`; `clean`, `corrupt`: prompts `(*batch, pos)` of one length, or embeddings
      `(*batch, pos, d)` (`patching.noised`). One prompt serves a batch of the other.
    - `metric`: of `ji.metrics`, or a function of all logits to one number per example.
    - `site`: what is patched; several sites of equal axes give a leading axis `site`.
    - `over`: the axes of the result, of `layer pos head query key unit`. What is left out is patched
      whole: `("layer", "head")` patches a head at all positions, `("pos",)` all layers together. As a
      mapping it chooses entries: `{"layer": None, "pos": [-1]}`; positions may differ per example,
      `(*batch, n)`.
    - `direction`: `"denoise"` runs the corrupt prompt and restores clean activations; `"noise"` runs
      the clean one and puts in corrupt activations.
    - `mask`: True at real tokens, for padded prompts.
    - `per_example`: keep the examples, as last axes; by default their mean.
    - `window`: so many adjacent layers are patched together, centred on the cell's layer.
    - `max_bytes`: memory that a chunk may take; "auto" is a part of the device's.
    - `progress`: a bar, where there are several chunks.

    **Returns:** the metric of every patched run, with the axes of `over`. Rescale it with
    `ji.metrics.recovered`, and see `patching.statistics` for intervals and p-values.

    One compiled program: only blocks from the patched layer on run, and only positions from the
    patched one on, against remembered keys and values; only what the metric reads is unembedded.

    ```python
    metric = ji.metrics.logit_diff(right, wrong)
    heat = ji.patching.sweep(model, clean, corrupt, metric, site="resid_pre", over=("layer", "pos"))
    ```

    Law: each cell is the metric of one run with one `ji.replace`.
    """
    if not isinstance(site, str):
        return _several(model, clean, corrupt, metric, site, over=over, direction=direction, mask=mask,
                        per_example=per_example, window=window, max_bytes=max_bytes, progress=progress)  # fmt: skip
    pair = make_pair(model, clean, corrupt, mask, direction)
    return swept(
        model, pair, as_metric(metric), None, site=site, over=over, per_example=per_example,
        window=window, max_bytes=max_bytes, progress=progress,
    )  # fmt: skip


def _several(
    model: Any, clean: Any, corrupt: Any, metric: Any, sites: Any, **options: Any
) -> Array:
    names = tuple(sites)
    if not names:
        raise ValueError("site names a site, or several: site=('z', 'q', 'k', 'v'); got none.")
    heats = [sweep(model, clean, corrupt, metric, site=name, **options) for name in names]
    if len({heat.shape for heat in heats}) > 1:
        shapes = ", ".join(f"{name} {heat.shape}" for name, heat in zip(names, heats, strict=True))
        raise ValueError(f"Several sites come stacked, so they need equal axes; got {shapes}. Sweep them one by one.")  # fmt: skip
    return jnp.stack(heats)


def swept(
    model: Any,
    pair: Pair,
    metric: Metric,
    values: Any,
    *,
    site: str,
    over: Any,
    per_example: bool,
    window: int = 1,
    max_bytes: int | str = "auto",
    progress: bool = True,
) -> Array:
    """A sweep of `pair.target` with what `pair.source` has at the site, or with `values` of its shape."""
    inner, own = split_edits(model)
    shapes = survey(inner, pair.target, own)
    grid = make_grid(site, over, shapes, layer_count(inner), pair.batch, window)
    metric.check(model.config.vocab, pair.batch)
    if own or not is_per_layer(grid.site) or "." in grid.site:
        result = _plain(model, pair, metric, values, grid)
    else:
        result = _packed(model, pair, metric, values, grid, max_bytes, progress)
    result = result.reshape(*result.shape[:2], *pair.batch)
    result = grid.arrange(result)
    axes = tuple(range(len(grid.names), result.ndim))
    return result if per_example or not axes else result.mean(axes)


def _columns(metric: Metric, pair: Pair) -> Any:
    """The positions that the metric reads, counted from 0: (batch, n)."""
    batch, pos = int(np.prod(pair.batch)), pair.pos
    if metric.pos is None:
        return np.broadcast_to(np.arange(pos, dtype=np.int32), (batch, pos))
    check_selector("pos", metric.pos, pos, pair.batch, metric.name)
    xp: Any = np if concrete(metric.pos) else jnp
    at = xp.asarray(metric.pos, np.int32)
    at = xp.where(at < 0, at + pos, at)
    return xp.broadcast_to(at.reshape(-1, at.shape[-1] if at.ndim else 1), (batch, at.shape[-1] if at.ndim else 1))  # fmt: skip


def _packed(
    model: Any,
    pair: Pair,
    metric: Metric,
    values: Any,
    grid: Grid,
    max_bytes: int | str,
    progress: bool,
) -> Array:
    """All cells as packed suffixes: (group, job, batch)."""
    columns = _columns(metric, pair)
    layout = plan(model, grid, pair, *_suffixes(model, pair, grid, columns, values), columns.shape[-1], max_bytes)  # fmt: skip
    order = np.argsort(grid.groups[:, 0], kind="stable")
    base, donors = _prepare(
        model, pair.flat(pair.target), pair.flat(pair.source), pair.flat_mask, values, grid.site
    )
    results = [
        _piece(
            model, base, donors, _rows(layout, piece), _places(piece),
            {name: jnp.asarray(entry) for name, entry in piece.index.items()},
            jnp.asarray(grid.groups[order]), jnp.asarray(columns), pair.flat_mask, metric,
            grid.site, pair.batch, layout.unembed,
        )
        for piece in layout.pieces(progress)
    ]  # fmt: skip
    # Jobs were dealt to the pieces, the last of which may hold some twice.
    jobs = np.unique(layout.order, return_index=True)[1]
    return jnp.concatenate(results, 1)[:, jobs][np.argsort(order)]


def _suffixes(
    model: Any, pair: Pair, grid: Grid, columns: Any, values: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Where each patch's suffix begins (batch, job), and behind which position nothing is read."""
    batch = len(columns)
    stop = np.full(batch, pair.pos, np.int32)
    if not model.config.causal:
        return np.zeros((batch, grid.jobs), np.int32), stop
    if concrete(columns):
        stop = np.asarray(columns).max(-1) + 1
    first = np.zeros(batch, np.int32)
    if values is None and pair.same_kind and concrete(pair.target) and concrete(pair.source):
        first = first_difference(pair.flat(pair.source), pair.flat(pair.target))
    return starts(grid.index, grid.jobs, first, stop), stop


def _rows(layout: Plan, piece: Piece) -> Rows:
    """Packed rows on the device, in chunks."""
    shape = (layout.chunks, layout.chunk_rows)
    packed = piece.rows
    start = np.take_along_axis(packed.start[packed.example], np.maximum(packed.job, 0), 1)
    fold = lambda leaf: jnp.asarray(leaf.reshape(*shape, *leaf.shape[1:]))
    return Rows(
        fold(packed.example), fold(packed.job), fold(packed.column),
        fold(np.where(packed.job >= 0, start, 0).astype(np.int32)),
        jnp.asarray(-(-packed.used // layout.chunk_rows), jnp.int32),
    )  # fmt: skip


def _places(piece: Piece) -> tuple[Array, Array, Array]:
    """Row, slot and first position of each suffix, (batch, job)."""
    rows = piece.rows
    return jnp.asarray(rows.row), jnp.asarray(rows.slot), jnp.asarray(rows.start)


@eqx.filter_jit
def _prepare(
    model: Any, target: Array, source: Array, mask: Any, values: Any, site: str
) -> tuple[Base, Array]:
    rotary = "k_rot" in survey(model, target)
    base = base_run(model, target, mask, rotary)
    if values is None:
        _, acts = run(model, source, capture=[site], mask=mask, logits=False)
        return base, acts[site]
    if callable(values):
        _, acts = run(model, target, capture=[site], mask=mask, logits=False)
        values = values(acts[site])
    struct = survey(model, target)[site]
    return base, jnp.broadcast_to(values, (layer_count(model), *struct.shape)).astype(struct.dtype)


@eqx.filter_jit
def _piece(
    model: Any,
    base: Base,
    donors: Array,
    rows: Rows,
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

    def measured(chosen: Array) -> Array:
        chosen = chosen.reshape(*batch, *chosen.shape[1:])
        logits = model.unembed(chosen, Tap())
        return metric.of(logits.squeeze(-2) if metric.one else logits).reshape(-1)

    def of_group(group: Array) -> Array:
        chosen = read_streams(streams, base, row, slot, start, columns, group)
        return lax.map(measured, chosen, batch_size=min(unembed, len(chosen)))

    return lax.map(of_group, jnp.arange(len(groups), dtype=jnp.int32))


def _plain(model: Any, pair: Pair, metric: Metric, values: Any, grid: Grid) -> Array:
    """All cells as whole runs, for edited models and sites outside the blocks: (group, job, batch)."""
    return _plain_program(
        model, pair.flat(pair.target), pair.flat(pair.source), pair.flat_mask, metric, values,
        grid.site, jnp.asarray(grid.groups),
        {name: jnp.asarray(entry) for name, entry in grid.index.items()}, grid.jobs, pair.batch,
    )  # fmt: skip


@eqx.filter_jit
def _plain_program(
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
