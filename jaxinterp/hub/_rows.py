"""The rows of a port at work: tensors into a model, and a model into tensors."""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np

from ..mesh._leaves import leaf_paths
from ..mesh._models import Rule
from ._errors import BadCheckpoint, listed, near
from ._leaves import get_leaf, set_leaves
from ._optional import every_name, with_optional
from ._port import Port
from ._port_row import Row
from ._shards import CHUNK_BYTES, Shards, fill_shards
from ._tensors import LazyTensor, Tensors, with_twins


def fill(
    port: Port,
    model: Any,
    tensors: Tensors,
    *,
    place: Rule,
    rows: tuple[Row, ...] | None = None,
    progress: Callable[[int], Any] = lambda size: None,
) -> Any:
    """`model` (a skeleton) with the checkpoint's tensors as its leaves.

    Names and shapes are all checked before anything is read. Then each tensor is read once, put
    into its place in a stacked host array and dropped; a finished leaf goes to JAX at once. A leaf that
    `place` lays on several devices is made only in the parts of this process's devices.
    """
    rows = port.rows if rows is None else rows
    _check_layers(port, rows, model, tensors)
    tensors = _our_spelling(port, rows, tensors)
    model = with_optional(port, model, tensors, rows)
    every, rows = rows, used_rows(model, rows)
    tensors = with_twins(tensors, _twins(port, rows))
    _check_names(port, model, rows, tensors, every)
    for row in rows:
        _check_shapes(row, model, tensors)
    read = _names(rows, model)
    tied = {
        leaf: name
        for name, leaf in port.names.get("tied", {}).items()
        if name in tensors and name not in read
    }
    done: dict[str, jax.Array] = {}
    for row in rows:
        each_layer = [tensors[row.name_of(layer)] for layer in range(_layers(row, model))]
        blank = {leaf: get_leaf(model, leaf) for leaf in row.leaves}
        parts = {leaf: Shards(each, place(leaf, each)) for leaf, each in blank.items()}
        fill_shards(row, list(parts.values()), each_layer, progress)
        for leaf in list(parts):
            if leaf in tied:
                _check_tied(tied[leaf], leaf, tensors, each_layer[0], blank[leaf].dtype)
            done[leaf] = parts.pop(leaf).array()
    return set_leaves(model, done)


def unfill(port: Port, model: Any, rows: tuple[Row, ...] | None = None) -> dict[str, np.ndarray]:
    """The model's leaves as the checkpoint's tensors: the inverse of `fill`, bit for bit."""
    tensors: dict[str, np.ndarray] = {}
    for row in used_rows(model, port.rows if rows is None else rows):
        ours = [np.asarray(jax.device_get(get_leaf(model, leaf))) for leaf in row.leaves]
        if row.stacked:
            for layer in range(len(ours[0])):
                tensors[row.name_of(layer)] = row.to_theirs([leaf[layer] for leaf in ours])
        else:
            tensors[row.name] = row.to_theirs(ours)
    return tensors


def used_rows(model: Any, rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows whose leaves this model has; a row of absent (None) leaves is skipped."""
    return tuple(row for row in rows if get_leaf(model, row.leaves[0]) is not None)


def _one(row: Row, model: Any) -> jax.ShapeDtypeStruct:
    """The leaf that one tensor of the row fills: a single layer where they come one by one."""
    leaf = get_leaf(model, row.leaves[0])
    return jax.ShapeDtypeStruct(leaf.shape[1:] if row.stacked else leaf.shape, leaf.dtype)


def _layers(row: Row, model: Any) -> int:
    return get_leaf(model, row.leaves[0]).shape[0] if row.stacked else 1


def _check_layers(port: Port, rows: tuple[Row, ...], model: Any, tensors: Tensors) -> None:
    """A config may promise more layers than any file holds: names are not made of all of them."""
    layers = model.config.layers
    if any(row.stacked for row in rows) and layers > max(256, len(tensors)):
        raise BadCheckpoint(
            f"The checkpoint must hold exactly the tensors of a {port.family} ({port.path.name}): the "
            f"config says {layers:,} layers, and there are {len(tensors):,} tensors."
        )


def _our_spelling(port: Port, rows: tuple[Row, ...], tensors: Tensors) -> dict[str, LazyTensor]:
    """Names as the table has them: with its prefix (`transformer.`), and in its own spelling."""
    also = {theirs: name for theirs, name in port.names.get("also", {}).items() if name not in tensors}
    tensors = {also.get(name, name): tensor for name, tensor in tensors.items()}
    prefix = port.names.get("prefix", "")
    if not prefix or any(name.startswith(prefix) for name in tensors):
        return dict(tensors)
    whole = {row.name for row in rows} | set(port.names.get("tied", {}))

    def spell(name: str) -> str:
        return name if re.sub(r"\.\d+\.", ".{layer}.", name) in whole else prefix + name

    return {spell(name): tensor for name, tensor in tensors.items()}


def _twins(port: Port, rows: tuple[Row, ...]) -> dict[str, str]:
    """Names that a file may leave out: of a leaf that another name is tied to, and reads for it."""
    names, read = {row.leaf: row.name for row in rows}, {row.name for row in rows}
    tied = port.names.get("tied", {}).items()
    known = {row.leaf for row in port.rows}
    for name, leaf in tied:
        if leaf not in known:
            raise ValueError(
                f"The port {port.path.name} ties {name!r} to our leaf {leaf!r}, which has no row"
                f"{near(leaf, known)}."
            )
    return {names[leaf]: name for name, leaf in tied if leaf in names and name not in read}


def _names(rows: tuple[Row, ...], model: Any) -> set[str]:
    return {row.name_of(layer) for row in rows for layer in range(_layers(row, model))}


def _check_names(
    port: Port, model: Any, rows: tuple[Row, ...], tensors: Tensors, every: tuple[Row, ...]
) -> None:
    wanted, known = _names(rows, model), set(tensors)
    optional = set(port.names.get("tied", {}))
    ignored = port.names.get("ignore", [])
    extra = sorted(
        name
        for name in known - wanted - optional
        if not any(fnmatchcase(name, pattern) for pattern in ignored)
    )
    missing = sorted(wanted - known)
    covered = {leaf for row in rows for leaf in row.leaves}
    left_out = sorted(set(leaf_paths(model)) - covered)
    if left_out:
        raise ValueError(
            f"The port {port.path.name} has no row for our leaves {listed(left_out)}; add them, or, "
            "where the family has none, say so by a constant of [config]: bias = false, "
            "norm = false, ff = 0."
        )
    if not missing and not extra:
        return
    parts = []
    if missing:
        gone = [row.leaf for row in rows if known.isdisjoint(every_name(row, model))]
        lacking = bool(gone) and not near(missing[0], extra)
        hint = "" if lacking else near(missing[0], extra or known)
        parts.append(f"{len(missing)} tensors are missing: {listed(missing)}{hint}")
        if lacking:
            parts.append(
                f"of {listed(gone)} there is nothing at all: where the family has no such leaf, "
                "say so in the table, by a constant of [config] (bias = false, norm = false) or in "
                "[names] optional"
            )
    off = {name: row.leaf for row in every if row not in rows for name in every_name(row, model)}
    without = [name for name in extra if name in off]
    if without:
        parts.append(
            f"{len(without)} tensors belong to leaves that this config leaves out: "
            f"{listed(without)} ({listed(sorted({off[name] for name in without}))}); set the field "
            "that makes them (bias, norm, ff, tied, ...), or name the leaf in [names] optional"
        )
    extra = [name for name in extra if name not in off]
    if extra:
        hint = near(extra[0], missing or wanted)
        parts.append(f"{len(extra)} tensors have no row in the port: {listed(extra)}{hint}")
    raise BadCheckpoint(
        f"The checkpoint must hold exactly the tensors of a {port.family} "
        f"({port.path.name}). " + "; ".join(parts) + "."
    )


def _check_shapes(row: Row, model: Any, tensors: Tensors) -> None:
    one = _one(row, model)
    for leaf in row.leaves[1:]:
        if get_leaf(model, leaf).shape != get_leaf(model, row.leaves[0]).shape:
            raise ValueError(f"Port row {row.leaf!r}: leaves that share a tensor share a shape.")
    wanted = row.their_shape(one.shape)
    for layer in range(_layers(row, model)):
        name = row.name_of(layer)
        if tensors[name].shape != wanted:
            width = (
                ""
                if not row.leaf.endswith("_unembed")
                else (
                    " Where a position has another number of logits than there are tokens, that is our "
                    "field vocab_out: a key of [config.keys], or a constant of [config]."
                )
            )
            raise BadCheckpoint(
                f"Leaf {row.leaf} of shape {get_leaf(model, row.leaves[0]).shape} needs {name!r} "
                f"of shape {wanted}; the checkpoint has {tensors[name].shape}. The config and "
                f"the weights do not belong together.{width}"
            )
        if not jax.numpy.issubdtype(tensors[name].dtype, jax.numpy.floating):
            raise BadCheckpoint(
                f"Leaf {row.leaf} needs floating-point numbers; {name!r} holds "
                f"{tensors[name].dtype}. Quantised checkpoints must be dequantised first."
            )


def _check_tied(name: str, leaf: str, tensors: Tensors, kept: LazyTensor, dtype: Any) -> None:
    """A tied tensor that is in the file all the same must be the one that it is tied to."""
    copy = tensors[name]
    same = copy.shape == kept.shape
    if same:
        one, other = kept.reader(), copy.reader()
        step = max(1, CHUNK_BYTES * kept.shape[0] // max(kept.nbytes, 1))
        ends = [(at, min(at + step, kept.shape[0])) for at in range(0, kept.shape[0], step)]
        same = all(np.array_equal(one(*part).astype(dtype), other(*part).astype(dtype)) for part in ends)
    if not same:
        raise BadCheckpoint(
            f"config.json ties {name!r} to our leaf {leaf}, and the file holds different values "
            "for them. Set `tie_word_embeddings` to false in config.json to load both."
        )
