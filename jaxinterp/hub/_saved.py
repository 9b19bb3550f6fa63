"""What a saved model says of itself: its classes, its config and its leaves, checked before any is read."""

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._read import SIZE, TABLE, TEXT, check, integer, list_of, one_of, or_null, shown, table_of
from ..mesh._leaves import leaf_paths
from ._classes import config_of, find_model
from ._errors import BadCheckpoint
from ._leaves import get_leaf, skeleton
from ._tensors import read_json

VERSION = 1
DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
    "complex64",
    "complex128",
)
SAVED = {
    "jaxinterp": SIZE,
    "model": TEXT,
    "config_class": TEXT,
    "config": TABLE,
    "leaves": table_of(TABLE),
    "tokenizer": or_null(TABLE),
}
LEAF = {"shape": list_of(integer(0), most=16), "dtype": one_of(*DTYPES)}
MAX_BYTES = 2**26
"""The most bytes of the metadata, which hold the tokenizer too."""


def describe(folder: Path) -> tuple[dict[str, Any], Any]:
    """The description of a saved model, checked, and the model without weights. No leaf is read.

    The classes that it names are models, the sizes of its leaves those of the model's config.
    """
    path = folder / "model" / "metadata"
    about = check(path, read_json(path, max_bytes=MAX_BYTES), SAVED, required=SAVED, error=BadCheckpoint)
    if about["jaxinterp"] != VERSION:
        raise BadCheckpoint(
            f"{path} is of version {about['jaxinterp']} of ji.save; this reads version {VERSION}."
        )
    for name, entry in about["leaves"].items():
        check(f"{path}, leaf {name!r}", entry, LEAF, required=LEAF, error=BadCheckpoint)
    cls = find_model(about["model"], path)
    config_class = config_of(cls, path, about["config_class"])
    try:
        config = _decode(config_class, about["config"], str(path))
        model = skeleton(cls, config, np.float32)
    except BadCheckpoint:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise BadCheckpoint(f"{path}: the config makes no {cls.__name__}: {error}") from error
    known = leaf_paths(model)
    for name in about["leaves"]:
        if name not in known and not _could_be(model, name):
            raise BadCheckpoint(f"{path} names the leaf {name[:80]!r}, which a {cls.__name__} has not.")
    return about, model


def _could_be(model: Any, name: str) -> bool:
    """Whether a leaf that the config does not make may stand there: its place is None."""
    try:
        return get_leaf(model, name) is None
    except ValueError:
        return False


def _decode(hint: Any, value: Any, where: str) -> Any:
    """JSON back to dataclasses and tuples, by the type hints of the fields."""
    options = typing.get_args(hint)
    cls = next((o for o in (hint, *options) if dataclasses.is_dataclass(o)), None)
    if isinstance(value, Mapping) and cls is not None:
        hints = typing.get_type_hints(cls)
        fields = [field.name for field in dataclasses.fields(typing.cast(Any, cls)) if field.init]
        if unknown := [name for name in value if name not in fields]:
            raise BadCheckpoint(
                f"{where}: a {getattr(cls, '__name__', cls)} has no field {unknown[0][:80]!r}; its fields are {', '.join(fields)}."
            )
        made = {k: _decode(hints[k], v, where) for k, v in value.items()}
        return typing.cast(Any, cls)(**made)
    if cls is not None and value is not None and isinstance(value, str | int | float | list):
        raise BadCheckpoint(
            f"{where} must hold a table for {getattr(cls, '__name__', cls)}; got {shown(value)}."
        )
    if isinstance(value, list):
        return tuple(value)
    return value
