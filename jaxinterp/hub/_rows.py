"""The rows of a port at work: tensors into a model, and a model into tensors."""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import einops
import equinox as eqx
import jax
import numpy as np

from ._errors import BadCheckpoint, listed, near
from ._port import Port, Row
from ._tensors import LazyTensor, Tensors, with_twins

Place = Callable[[str, np.ndarray], jax.Array]
"""Hands a finished host array of a leaf to JAX: where it lives and how it is sharded."""


def skeleton(model_class: type, config: Any, dtype: Any) -> Any:
    """The model with shapes for arrays: nothing is allocated."""
    dtype = np.dtype(dtype)
    return eqx.filter_eval_shape(
        lambda key: model_class.init(config, key=key, dtype=dtype), jax.random.key(0)
    )


def get_leaf(model: Any, path: str) -> Any:
    """The leaf at a dotted path; None where it or a part on the way is None."""
    node = model
    for part in path.split("."):
        try:
            if isinstance(node, list | tuple):
                node = node[int(part)]
            elif isinstance(node, dict):
                node = node[part]
            elif node is not None:
                node = getattr(node, part)
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            leaves = leaf_paths(model)
            raise ValueError(
                f"A {type(model).__name__} has no leaf {path!r}{near(path, leaves)}; its leaves are "
                f"{listed(leaves, 30)}."
            ) from error
    return node


def leaf_paths(model: Any) -> dict[str, Any]:
    """Every array (or shape) leaf of a model by its dotted path."""
    leaves = jax.tree_util.tree_leaves_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def fill(
    port: Port,
    model: Any,
    tensors: Tensors,
    *,
    place: Place,
    rows: tuple[Row, ...] | None = None,
    progress: Callable[[int], Any] = lambda size: None,
) -> Any:
    """`model` (a skeleton) with the checkpoint's tensors as its leaves.

    Names and shapes are all checked before anything is read. Then each tensor is read once, put
    into its place in a stacked host array and dropped; a finished leaf goes to JAX at once.
    """
    rows = port.rows if rows is None else rows
    tensors = _our_spelling(port, rows, tensors)
    model = _with_optional(port, model, tensors, rows)
    rows = used_rows(model, rows)
    tensors = with_twins(tensors, _twins(port, rows))
    _check_names(port, model, rows, tensors)
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
        hosts = {leaf: _host(get_leaf(model, leaf)) for leaf in row.leaves}
        for layer in range(_layers(row, model)):
            tensor = tensors[row.name_of(layer)]
            parts = row.to_ours(tensor.read(), _one(row, model).shape)
            for host, part in zip(hosts.values(), parts, strict=True):
                (host[layer] if row.stacked else host)[...] = part
            progress(tensor.nbytes)
        for leaf in list(hosts):
            if leaf in tied:
                _check_tied(tied[leaf], leaf, tensors, hosts[leaf])
            done[leaf] = place(leaf, hosts.pop(leaf))
    return set_leaves(model, done)


def set_leaves(model: Any, leaves: Mapping[str, Any]) -> Any:
    """`model` with other values at dotted paths."""
    paths = list(leaves)
    return eqx.tree_at(
        lambda m: [get_leaf(m, path) for path in paths], model, [leaves[path] for path in paths],
        is_leaf=lambda x: x is None,
    )  # fmt: skip


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


def _host(leaf: Any) -> np.ndarray:
    """An empty host array, aligned so that JAX on a CPU takes it over without a copy."""
    size, align = int(np.prod(leaf.shape, dtype=int)) * leaf.dtype.itemsize, 64
    raw = np.empty(size + align, np.uint8)
    start = -raw.ctypes.data % align
    return raw[start : start + size].view(leaf.dtype).reshape(leaf.shape)


def _our_spelling(port: Port, rows: tuple[Row, ...], tensors: Tensors) -> dict[str, LazyTensor]:
    """Names as the table has them: with its prefix (`transformer.`), and in its own spelling."""
    also = {
        theirs: name for theirs, name in port.names.get("also", {}).items() if name not in tensors
    }
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


def _with_optional(port: Port, model: Any, tensors: Tensors, rows: tuple[Row, ...]) -> Any:
    """The skeleton with those optional leaves that this checkpoint has (`names.optional`)."""
    optional = port.names.get("optional", [])
    dtype = jax.tree.leaves(model)[0].dtype
    found = {}
    for row in rows:
        if row.leaf in optional and row.name in tensors and get_leaf(model, row.leaf) is None:
            theirs = np.broadcast_to(0.0, tensors[row.name].shape)
            shape = einops.rearrange(theirs, row.pattern).shape
            found[row.leaf] = jax.ShapeDtypeStruct(shape, dtype)
    return set_leaves(model, found) if found else model


def _names(rows: tuple[Row, ...], model: Any) -> set[str]:
    return {row.name_of(layer) for row in rows for layer in range(_layers(row, model))}


def _check_names(port: Port, model: Any, rows: tuple[Row, ...], tensors: Tensors) -> None:
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
            f"The port {port.path.name} has no row for our leaves {listed(left_out)}; add them."
        )
    if not missing and not extra:
        return
    parts = []
    if missing:
        hint = near(missing[0], extra or known)
        parts.append(f"{len(missing)} tensors are missing: {listed(missing)}{hint}")
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
            raise BadCheckpoint(
                f"Leaf {row.leaf} of shape {get_leaf(model, row.leaves[0]).shape} needs {name!r} "
                f"of shape {wanted}; the checkpoint has {tensors[name].shape}. The config and "
                "the weights do not belong together."
            )
        if not jax.numpy.issubdtype(tensors[name].dtype, jax.numpy.floating):
            raise BadCheckpoint(
                f"Leaf {row.leaf} needs floating-point numbers; {name!r} holds "
                f"{tensors[name].dtype}. Quantised checkpoints must be dequantised first."
            )


def _check_tied(name: str, leaf: str, tensors: Tensors, host: np.ndarray) -> None:
    """A tied tensor that is in the file all the same must be the one that it is tied to."""
    copy = tensors[name].read()
    if copy.shape != host.shape or not np.array_equal(copy.astype(host.dtype), host):
        raise BadCheckpoint(
            f"config.json ties {name!r} to our leaf {leaf}, and the file holds different values "
            "for them. Set `tie_word_embeddings` to false in config.json to load both."
        )
