r"""Runs of many patched suffixes at once, layer by layer: what `sweep` compiles.

One scan over layers holds each layer's weights still while every patch whose layer lies at or
below passes through the block. A suffix attends to the keys and values that the unpatched run left
at earlier positions, and to its own. Suffixes are packed into rows (`_rows`); a row's slots are the
block's positions, and its mask keeps suffixes apart.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ...core._blocks import context, layer_count
from ...core._edit import Edit
from ...core._run import run
from ...core._tap import Tap
from ...core._types import Context, Reads
from ...mesh._gather import gather_weights, over_data
from .._grid import site_axes
from ._reads import DeviceRows, chunks_of, rules


class Base(eqx.Module):
    """The unpatched run: residual streams (layer + 1), and the keys and values attended to."""

    resid: Float[Array, "stage batch pos d"]
    k: Float[Array, "layer batch pos kv_head k"]
    v: Float[Array, "layer batch pos kv_head k"]


def base_run(
    model: Any, tokens: Array, mask: Array | None, rotary: bool, source: Array | None, site: str
) -> tuple[Base, Array | None]:
    """Runs `tokens` (batch, pos) once and keeps what suffixes build on, and what `source` has at the site.

    Both are one run of twice the batch, so that there is one copy of the block to compile: with the whole
    streams from behind the blocks, since what is captured of one layer alone is a block of its own.
    """
    names = ["resid_post", "k_rot" if rotary else "k", "v"]
    both = tokens if source is None else jnp.concatenate([tokens, source])
    twice = mask if mask is None or source is None else jnp.concatenate([mask, mask])
    _, acts = run(model, both, capture=list(dict.fromkeys([*names, site])), mask=twice, logits=False)
    batch = len(tokens)
    resid, keys, values = (acts[name][:, :batch] for name in names)
    positions, _ = context(model, tokens.shape[:2], mask)
    first = model.embed(tokens, positions, Tap())
    base = Base(jnp.concatenate([first[None], resid]), keys, values)
    return base, None if source is None else acts[site][:, batch:]


class RowTap(Tap):
    """A tap of packed rows: keys and values of the unpatched run come before those of the rows.

    There are no barriers at the sites. A cell is compared with other cells, not bit for bit with a run, and
    each barrier sends all streams through memory once more. There is one behind the first norm: queries, keys
    and values would each compute it again.
    """

    def __call__(self, site: str, x: Any) -> Any:
        x = lax.optimization_barrier(x) if site == "ln1_out" else x
        for i, edit in enumerate(self.edits):
            if site in edit.sites:
                x, self.states[i] = edit.apply(self, site, x, self.states[i])
        return x

    def past(self, k: Any, v: Any) -> tuple[Any, Any]:
        before_k, before_v = self.memory
        return (
            jnp.concatenate([before_k.astype(k.dtype), k], axis=k.ndim - 3),
            jnp.concatenate([before_v.astype(v.dtype), v], axis=v.ndim - 3),
        )


class Patch(Edit):
    r"""$x_c \mapsto v_c$ at the cells of a sweep, in packed rows, where `active`.

    `donors` (batch, *site) hold the values; `index[axis]` the entry of each job; `active` is one bool, or one of
    each row.
    """

    donors: Array
    index: dict[str, Array]
    rows: DeviceRows
    reads: Reads
    active: Any
    site: str = eqx.field(static=True)
    layers: None = None

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        axes, rows = site_axes(site), self.rows
        job = jnp.maximum(rows.job, 0)  # (row, slot); of no job: never selected, see below
        in_job = rows.job >= 0
        columns = {"pos": rows.column, "query": rows.column}
        if "key" in axes:
            value, keys = self._attention(rows)
            selected = in_job[:, None, :, None] & jnp.ones(x.shape, bool)
            columns["key"] = keys
        else:
            value = self.donors[rows.example[:, None], rows.column]
            selected = _along(in_job, 0, x) & jnp.ones(x.shape, bool)
        slots = axes["query"] if "query" in axes else axes["pos"]
        for name, entries in self.index.items():
            entry = entries[rows.example[:, None], job] if entries.ndim == 2 else entries[job]
            # (row, slot) -> the rank of x, with the slot at its axis.
            entry = _along(entry, slots, x)
            if name in ("pos", "query"):
                here = _along(columns[name], slots, x)
            elif name == "key":
                here = columns["key"][:, None, None, :]
            else:
                here = jnp.arange(x.shape[axes[name]], dtype=jnp.int32)
                here = here.reshape((1,) * (x.ndim + axes[name]) + (-1,) + (1,) * (-axes[name] - 1))
            hit = jnp.broadcast_to(entry, jnp.broadcast_shapes(entry.shape, here.shape)) == here
            selected = selected & jnp.broadcast_to(hit, x.shape)
        selected = selected & jnp.reshape(self.active, (-1, *(1,) * (x.ndim - 1)))
        return jnp.where(selected, value.astype(x.dtype), x), state

    def _attention(self, rows: DeviceRows) -> tuple[Array, Array]:
        """Donated scores or patterns (row, head, slot, key) in a row's layout, and keys' positions."""
        pos = self.donors.shape[-1]
        before = jnp.broadcast_to(jnp.arange(pos, dtype=jnp.int32), (len(rows.example), pos))
        keys = jnp.concatenate([before, rows.column], -1)
        donors = jnp.moveaxis(self.donors, 1, -1)  # (batch, query, key, head)
        value = donors[rows.example[:, None, None], rows.column[:, :, None], keys[:, None, :]]
        allowed = self.reads.rows(0, self.reads.queries)
        assert allowed is not None  # rows of a sweep always have a rule
        value = jnp.where(allowed[..., None], value, 0)
        return jnp.moveaxis(value, -1, 1), keys


def _along(values: Array, axis: int, x: Array) -> Array:
    """Values (row, slot) at the rank of `x`, the slot at `axis` (0: right behind the row)."""
    where = 1 if axis == 0 else x.ndim + axis
    shape = [1] * x.ndim
    shape[0], shape[where] = values.shape
    return values.reshape(shape)


def patched_streams(
    model: Any,
    base: Base,
    donors: Float[Array, "layer batch *site"],
    rows: DeviceRows,
    index: dict[str, Array],
    groups: Int[Array, "group ends"],
    mask: Array | None,
    site: str,
) -> Float[Array, "group chunk row slot d"]:
    """The residual streams that leave the last block, for every group and every packed suffix.

    `groups` are the first and last layer of each, or its one layer; they are sorted by the first.
    """
    count, pos = layer_count(model), base.resid.shape[2]
    positions, _ = context(model, base.resid.shape[1:3], mask)
    positions = jnp.broadcast_to(positions, base.resid.shape[1:3])
    tables = model.tables(positions[rows.example[..., None], rows.column])
    (chunks, size), at_once = rows.example.shape, rows.at_once
    reads_of = rules(rows, mask, pos, model.config.causal)
    # A stream that one layer reads is patched where its run begins, and then no more.
    at_start = site == "resid_pre" and groups.shape[1] == 1
    arrays, static = eqx.partition(model.blocks, eqx.is_array)
    store = jnp.zeros((len(groups) * chunks, *rows.column.shape[1:], base.resid.shape[-1]), base.resid.dtype)

    def layer_step(store: Array, xs: Any) -> tuple[Array, None]:
        block, resid, k, v, donated, layer = xs
        earlier = (groups[:, 0] < layer).sum(dtype=jnp.int32)
        started = (groups[:, 0] <= layer).sum(dtype=jnp.int32)

        def place_of(step: Any) -> tuple[Any, Any, Any]:
            group, number = lax.div(step, rows.used), lax.rem(step, rows.used)
            return group, number, group * chunks + number

        def begin(step: Any, store: Array) -> Array:
            """The streams of a group that begins at this layer are those of the unpatched run."""
            _, number, place = place_of(step)
            here = rows.of([number])
            x = resid[here.example[:, None], here.column]
            if at_start:
                x, _ = Patch(
                    donors=donated, index=index, rows=here, reads=reads_of([number]), active=True, site=site
                ).apply(None, site, x, None)
            return lax.dynamic_update_index_in_dim(store, x, place, 0)

        def visit(step: Any, store: Array) -> Array:
            """The next chunks, of one group or of several, pass the block. The last ones may do so twice."""
            ends = jnp.minimum(step * at_once + jnp.arange(at_once, dtype=jnp.int32), started * rows.used - 1)
            whose, numbers, places = zip(*(place_of(end) for end in ends), strict=True)
            here = rows.of(numbers)
            x = over_data(chunks_of(store, places), 2)
            reads = reads_of(numbers)
            active = layer <= groups[jnp.stack(whose), -1]
            patch = Patch(
                donors=donated,
                index=index,
                rows=here,
                reads=reads,
                active=jnp.repeat(active, size) if at_once > 1 else active,
                site=site,
            )
            tap = RowTap([] if at_start else [patch], layer=layer, memory=(k[here.example], v[here.example]))
            own_tables = jax.tree.map(lambda t: chunks_of(t, numbers), tables)
            weights = gather_weights(eqx.combine(block, static), "blocks.", layer=True)
            x = weights(x, Context(reads, own_tables, layer), tap)
            for i, place in enumerate(places):
                store = lax.dynamic_update_index_in_dim(store, x[i * size : (i + 1) * size], place, 0)
            return store

        with jax.named_scope("begins"):
            store = lax.fori_loop(earlier * rows.used, started * rows.used, begin, store)
        with jax.named_scope("visits"):
            turns = lax.div(started * rows.used + at_once - 1, np.int32(at_once))
            store = lax.fori_loop(0, turns, visit, store)
        return store, None

    xs = (arrays, base.resid[:count], base.k, base.v, donors, jnp.arange(count, dtype=jnp.int32))
    store, _ = lax.scan(layer_step, store, xs)
    return store.reshape(len(groups), chunks, *store.shape[1:])


def read_streams(
    streams: Float[Array, "group chunk row slot d"],
    base: Base,
    row: Int[Array, " batch"],
    slot: Int[Array, " batch"],
    start: Int[Array, " batch"],
    columns: Int[Array, "batch n"],
    group: Any,
) -> Float[Array, "batch n d"]:
    """The last streams of one cell at `columns`: a suffix's own, or the unpatched run's before it."""
    rows = streams.shape[2]
    inside = (row >= 0)[:, None] & (columns >= start[:, None])
    own = jnp.where(inside, slot[:, None] + columns - start[:, None], 0)
    at_row = jnp.where(row >= 0, row, 0)[:, None]
    stream = streams[group, at_row // rows, at_row % rows, own]
    rest = base.resid[-1][jnp.arange(len(row), dtype=jnp.int32)[:, None], columns]
    return jnp.where(inside[..., None], stream, rest)
