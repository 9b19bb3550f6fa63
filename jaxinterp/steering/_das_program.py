"""The programs of DAS: all subspaces trained at once, and all interventions tried at once."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from ..core import at, map, run
from ..fit import Now, descend
from ._frames import boundary_weights, frame, hard_weights
from ._interchange import Interchanges, swapped


class PairArrays(NamedTuple):
    """Interchanges as arrays: tokens, masks or None, labels among choices, and columns by place `(place, n)`."""

    base: Int[Array, "n pos"]
    mask: Bool[Array, "n pos"] | None
    source: Int[Array, "n pos"]
    source_mask: Bool[Array, "n pos"] | None
    choices: Int[Array, "n choice"]
    labels: Int[Array, " n"]
    columns: Int[Array, "place n"]
    source_columns: Int[Array, "place n"]


class CellPlaces(NamedTuple):
    """Where a subspace lies: its layer, the number of its place, and its head, or None at a site without heads."""

    layer: Int[Array, "*cell"]
    place: Int[Array, "*cell"]
    head: Int[Array, "*cell"] | None


class Insertion(NamedTuple):
    """What is put in: orthonormal rows, how much each counts, and whether it is the whole site."""

    basis: Float[Array, "*cell k d"]
    weights: Float[Array, "*cell k"]
    whole: Float[Array, "*cell"]


class Params(NamedTuple):
    """What is trained: the vectors of the reflections, and the boundary, in 0..1 of the rows, or None."""

    vectors: Float[Array, "*cell k d"]
    boundary: Float[Array, "*cell"] | None


class Schedule(NamedTuple):
    """The rows of each step, and the temperature of its boundaries."""

    rows: Int[Array, "step row"]
    temperature: Float[Array, " step"]


def pair_arrays(swaps: Interchanges, places: list[Any]) -> PairArrays:
    columns, source_columns = zip(*(swaps.columns(place) for place in places), strict=True)
    whole = (
        swaps.base,
        swaps.source,
        swaps.choices,
        swaps.labels,
        np.stack(columns),
        np.stack(source_columns),
    )
    base, source, choices, labels, at_base, at_source = (jnp.asarray(np.asarray(x, np.int32)) for x in whole)
    masks = [None if m is None else jnp.asarray(np.asarray(m)) for m in (swaps.mask, swaps.source_mask)]
    return PairArrays(base, masks[0], source, masks[1], choices, labels, at_base, at_source)


@eqx.filter_jit
def source_values(model: Any, prompts: PairArrays, site: str) -> Float[Array, "layer n place *head d"]:
    """The activations of the sources at their places, of all layers and heads."""
    read = at(site, pos=prompts.source_columns.T)
    return run(model, prompts.source, mask=prompts.source_mask, capture=[read], logits=False)[1][read]


def _logits(
    model: Any, prompts: PairArrays, values: Array, site: str, cell: CellPlaces, swap: Insertion, rows: Any
) -> Float[Array, "row choice"]:
    """The logits of the choices after an intervention, for some of the prompts."""
    heads = () if cell.head is None else (cell.head,)
    source = values[(cell.layer, slice(None), cell.place, *heads)][rows]
    edit = map(
        site,
        swapped,
        jnp.expand_dims(source, range(1, 2 + len(heads))),
        *swap,
        layer=cell.layer,
        pos=prompts.columns[cell.place][rows][:, None],
        head=cell.head,
    )
    mask = None if prompts.mask is None else prompts.mask[rows]
    logits, _ = run(model, prompts.base[rows], mask=mask, edits=[edit], logits=-1)
    logits = logits.reshape(logits.shape[0], -1)
    return jnp.take_along_axis(logits, prompts.choices[rows], -1).astype(jnp.float32)


@eqx.filter_jit
def fit_cells(
    model: Any,
    prompts: PairArrays,
    values: Array,
    cells: CellPlaces,
    params: Params,
    schedule: Schedule,
    rate: Array,
    penalty: Array,
    *,
    site: str,
    many: int,
) -> tuple[Params, Float[Array, "cell step"]]:
    """The subspaces of all cells, each trained on the same rows; `many` of them are trained side by side."""

    def one(task: tuple[CellPlaces, Params]) -> tuple[Params, Array]:
        cell, start = task

        def loss(now_params: Params, batch: Schedule, now: Now) -> tuple[Array, dict[str, Array]]:
            basis = frame(now_params.vectors)
            weights, cost = jnp.ones(basis.shape[0], basis.dtype), jnp.zeros((), jnp.float32)
            if now_params.boundary is not None:
                weights = boundary_weights(now_params.boundary, basis.shape[0], batch.temperature)
                cost = penalty * jnp.maximum(now_params.boundary, 0)
            swap = Insertion(basis, weights, jnp.zeros((), basis.dtype))
            logits = _logits(model, prompts, values, site, cell, swap, batch.rows)
            wrong = optax.softmax_cross_entropy_with_integer_labels(logits, prompts.labels[batch.rows])
            return wrong.mean() + cost, {}

        optimizer = optax.scale_by_adam()
        steps = schedule.rows.shape[0]
        scaled = optax.chain(
            optimizer, optax.scale_by_schedule(lambda i: -rate * 0.5 * (1 + jnp.cos(jnp.pi * i / steps)))
        )
        state, numbers = descend(start, schedule, loss, scaled)
        return state.params, numbers["loss"]

    return jax.lax.map(one, (cells, params), batch_size=many)


@eqx.filter_jit
def answers(
    model: Any,
    prompts: PairArrays,
    values: Array,
    cells: CellPlaces,
    swaps: Insertion,
    *,
    site: str,
    many: int,
) -> Bool[Array, "cell n"]:
    """Whether the model gives the answer, for each intervention and prompt."""

    def one(task: tuple[CellPlaces, Insertion]) -> Array:
        logits = _logits(model, prompts, values, site, *task, jnp.arange(prompts.base.shape[0]))
        return logits.argmax(-1) == prompts.labels

    return jax.lax.map(one, (cells, swaps), batch_size=many)


@eqx.filter_jit
def swaps_of(params: Params) -> Insertion:
    """What trained parameters put in: their frames, cut hard at their boundaries."""

    def one(each: Params) -> Insertion:
        basis = frame(each.vectors)
        k = basis.shape[0]
        weights = jnp.ones(k, basis.dtype) if each.boundary is None else hard_weights(each.boundary, k)
        return Insertion(basis, weights, jnp.zeros((), basis.dtype))

    return jax.vmap(one)(params)
