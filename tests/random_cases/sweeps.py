"""Sweeps over random axes against the plain loop: one run for each cell, with one edit."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

from . import calls
from .calls import Call
from .cases import Case, Pairs, draw_setting, masked, model_call
from .changes import Setting, axes_of, draw_changes
from .draw import Draw
from .measures import draw_metric
from .prompts import POSITIONS, WIDTH, Prompts

CELLS = 10
"""So many cells of each sweep are looked at."""


def sweep(draw: Draw) -> Case:
    """`patching.sweep`: site, axes, entries, mask, metric, mode, adjacent layers and memory at random."""
    on = dataclasses.replace(draw_setting(draw), traced=False)
    site = draw.one_of(*(s for s in on.sites if s != "logits"))
    layered, intervened = ji.SITES[site].per_layer, draw.chance(0.15)
    prompts = on.prompts
    other = draw.ints(0, on.model.config.vocab, prompts.tokens.shape)
    other = np.where(draw.values.random(other.shape) < 0.5, other, prompts.tokens)
    metric, _ = draw_metric(draw, on)
    over = _draw_over(draw, on, site)
    options: dict[str, Any] = {"site": site, "over": over, "progress": False}
    options |= {"per_example": True} if draw.chance(0.7) else {}
    options |= {"mode": draw.one_of("denoise", "noise")} if draw.chance(0.6) else {}
    if layered and "layer" in over and draw.chance(0.3):
        options["adjacent"] = draw.count(2, 3)
    model: Any = model_call(on)
    if intervened:
        model = Call("intervene", model, [c.call for c in draw_changes(draw, on, 1)])
    elif layered and draw.chance(0.3):
        options["max_bytes"] = 0
    call = Call("patching.sweep", model, prompts.tokens, other, metric, **options, **masked(prompts))
    if "max_bytes" in options:
        call.options["max_bytes"] = _least(call)

    rng = np.random.default_rng(int(draw.values.integers(2**31)))
    return Case(call, lambda result: _loop(on, calls.resolved(call), np.asarray(result), rng))


def _draw_over(draw: Draw, on: Setting, site: str) -> dict[str, Any]:
    """Some axes in random order, whole or with chosen entries."""
    axes = [axis.removeprefix("kv_") for axis in axes_of(site)]
    names = ["layer"] * ji.SITES[site].per_layer
    names += [axis if axis in (*POSITIONS, "head") else "unit" for axis in axes]
    sizes = dict(zip(names[-len(axes) :], on.sizes(site), strict=True)) | {"layer": on.layers}
    over: dict[str, Any] = {}
    for name in draw.some_of(names, draw.count(1, min(3, len(names)))):
        size = sizes[name]
        form = draw.one_of("all", "some", "some", "columns")
        if form == "columns" and name in POSITIONS and on.prompts.batch:
            over[name] = on.prompts.columns(draw, draw.count(1, 3))
        elif form == "all" and name != "unit":
            over[name] = None
        else:
            limit = on.prompts.shortest if name in POSITIONS else size
            over[name] = draw.ints(-limit, limit, (draw.count(1, 3),))
    return over


def _least(call: Call) -> int:
    """The least memory, of a geometric row, that serves a sweep: it then runs in pieces."""
    size = 30_000
    while True:
        call.options["max_bytes"] = size
        try:
            calls.made(calls.resolved(call))
        except ValueError as error:
            if "max_bytes" not in str(error):
                raise
            size = size * 5 // 4
        else:
            return size


def _loop(on: Setting, call: Call, found: np.ndarray, rng: np.random.Generator) -> Pairs:
    """Some cells of a sweep, each as a run with one `ji.replace` (one for each layer of a window)."""
    model, clean, corrupt, metric = (calls.made(arg) for arg in call.args)
    ask, prompts = call.options, on.prompts
    site, over = ask["site"], ask["over"]
    denoise = ask.get("mode", "denoise") == "denoise"
    target, source = (corrupt, clean) if denoise else (clean, corrupt)
    _, acts = ji.run(model, source, capture=[site], mask=prompts.mask, logits=False)
    layered = ji.SITES[site].per_layer
    entries = {name: _entries(on, prompts, site, name, given) for name, given in over.items()}
    shape = tuple(len(some) for some in entries.values())
    wanted_shape = shape + (prompts.batch if ask.get("per_example") else ())
    compared: Pairs = [("axes", np.asarray(found.shape), np.asarray(wanted_shape))]
    for number in rng.permutation(int(np.prod(shape)))[:CELLS]:
        cell = np.unravel_index(number, shape)
        where = {name: some[i] for (name, some), i in zip(entries.items(), cell, strict=True)}
        layer = where.pop("layer", None)
        selectors = {name: jnp.asarray(given) for name, given in where.items()}
        if layer is None:
            edits = [ji.replace(site, acts[site], **selectors)]
        else:
            adjacent = ask.get("adjacent", 1)
            first, last = layer - (adjacent - 1) // 2, layer + adjacent // 2
            edits = [
                ji.replace(site, acts[site][i], layer=jnp.asarray(i), **selectors)
                for i in range(max(first, 0), min(last + 1, on.layers))
            ]
        assert layered or layer is None
        value = ji.metrics.measure(model, target, metric, mask=prompts.mask, edits=edits)
        value = np.asarray(value) if ask.get("per_example") else np.asarray(value).mean()
        compared.append((f"cell {tuple(int(i) for i in cell)}", found[cell], value))
    return compared


def _entries(on: Setting, prompts: Prompts, site: str, name: str, given: Any) -> list[Any]:
    """The selector of each entry of an axis; of positions, a mask of columns."""
    axes = [axis.removeprefix("kv_") for axis in axes_of(site)]
    size = on.layers if name == "layer" else on.sizes(site)[axes.index(name) if name in axes else -1]
    if name not in POSITIONS:
        return [int(i) % size for i in (range(size) if given is None else given)]
    if given is None:  # the columns of the padded array
        return [np.arange(WIDTH) == column for column in range(WIDTH)]
    columns = np.empty((*prompts.batch, np.shape(given)[-1]), int)
    for prompt in prompts:
        counted = given[prompt.index] % WIDTH if given.ndim > 1 else prompt.columns[given]
        columns[prompt.index] = counted
    return [np.arange(WIDTH) == columns[..., i, None] for i in range(columns.shape[-1])]
