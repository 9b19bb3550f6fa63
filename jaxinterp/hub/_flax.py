"""Flax parameter trees: `flax_model.msgpack` files, and models to and from such trees."""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._disk import write_whole
from .._read import regular, shown
from ._errors import BadCheckpoint
from ._msgpack import check_msgpack
from ._storages import DTYPES
from ._tensors import Tensors, in_memory


def open_flax(path: Path) -> Tensors:
    """The arrays of a msgpack file by dotted names. The format has no index: all are read now."""
    serialization = _serialization()
    size = regular(path, BadCheckpoint)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            with memoryview(data) as view:
                check_msgpack(view)
            tree = serialization.msgpack_restore(data)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # msgpack and flax raise a dozen kinds
        raise BadCheckpoint(
            f"{path} ({size:,} bytes) cannot be read as a Flax checkpoint "
            f"({type(error).__name__}: {error}): it is truncated or corrupt; fetch it again."
        ) from error
    if not isinstance(tree, dict):
        raise BadCheckpoint(f"{path} must hold a tree of arrays; got a {type(tree).__name__}.")
    arrays = flatten_tree(tree)
    for name, array in arrays.items():
        if array.dtype.kind in "OSUMmV" and array.dtype.name not in DTYPES:
            raise BadCheckpoint(f"{path} must hold a tree of arrays; {name[:80]!r} is {shown(array)}.")
    return in_memory(arrays)


def flatten_tree(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`{"a": {"b": x}}` to `{"a.b": x}`; a tree under "params" alone is taken out of it."""
    if set(tree) == {"params"} and isinstance(tree["params"], Mapping):
        tree = tree["params"]

    def walk(prefix: str, node: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
        for name, child in node.items():
            if isinstance(child, Mapping):
                yield from walk(f"{prefix}{name}.", child)
            else:
                yield f"{prefix}{name}", np.asarray(child)

    return dict(walk("", tree))


def unflatten_tree(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """`{"a.b": x}` to `{"a": {"b": x}}`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = array
    return tree


def save_flax(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes a tree of arrays as `flax.serialization` does, whole or not at all."""
    write_whole(path, _serialization().msgpack_serialize(dict(tree)))


def _serialization() -> Any:
    """Flax stands in an extra: its newest release asks for a newer JAX than the one of an accelerator's image."""
    try:
        from flax import serialization
    except ImportError as error:
        raise ImportError(
            "flax_model.msgpack files are read and written by the package flax: "
            'pip install "jaxinterp[flax]".'
        ) from error
    return serialization
