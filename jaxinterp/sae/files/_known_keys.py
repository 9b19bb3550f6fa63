"""Files of others, accounted for: each key and tensor is read, known not to matter, or refused by name."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from ..._read import shown
from ..kinds._from_arrays import WAY_IN


def check_config(
    path: Any,
    config: Mapping[str, Any],
    known: Iterable[str],
    ignore: Iterable[str] = (),
    off: Mapping[str, Any] | None = None,
) -> None:
    """Every key is one that is `known`, or has the value at which it does nothing (`off`, or null).

    Raises `ji.hub.UnhandledConfig`, a ValueError, that names all others.
    """
    known, off = (*known, *ignore), off or {}
    more = {
        key: value
        for key, value in config.items()
        if value is not None
        and not any(fnmatchcase(key, each) for each in known)
        and not (key in off and value == off[key])
    }
    if more:
        from ...hub import UnhandledConfig

        values = ", ".join(f"{key} = {shown(value)}"[:80] for key, value in more.items())
        raise UnhandledConfig(
            f"{path}: the config says {values}, which is not done here: the dictionary could compute "
            "something else. Where you know that it cannot matter, ji.sae.load(path, "
            f"ignore={list(more)!r}). {WAY_IN}"
        )


def check_value(path: Any, config: Mapping[str, Any], key: str, known: Iterable[Any]) -> None:
    """The value of a key is one of those that are done here; an absent key or null is the default."""
    value, known = config.get(key), list(known)
    if value is not None and not any(type(value) is type(each) and value == each for each in known):
        from ...hub import UnhandledConfig

        raise UnhandledConfig(
            f"{path}: {key} = {shown(value)} cannot be read; known are {', '.join(map(str, known))}. {WAY_IN}"
        )


def check_tensors(
    path: Any,
    origin: str,
    tensors: Mapping[str, Any],
    needed: Iterable[str],
    more: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> None:
    """All that are needed are there, and no others than `more`.

    Raises ValueError: the tensors, what the file was read as, and the way in.
    """
    needed = list(needed)
    lacking = [name for name in needed if name not in tensors]
    known = (*needed, *more, *ignore)
    strange = [n for n in tensors if not any(fnmatchcase(n, each) for each in known)]
    if not lacking and not strange:
        return
    if lacking:
        wrong = f"lacks the tensor{'s' * (len(lacking) > 1)} {', '.join(map(repr, lacking))}"
    else:
        wrong = (
            f"has the tensor{'s' * (len(strange) > 1)} {', '.join(map(repr, strange))}, of which "
            "nothing here makes use: the dictionary could compute something else. Where you know "
            f"that it cannot matter, ji.sae.load(path, ignore={strange!r})"
        )
    raise ValueError(f"{path} {wrong}. It was read as {origin}; it has {listed_tensors(tensors)}. {WAY_IN}")


def float_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file in float32."""
    from ...hub import open_safetensors

    return {name: as_float(path, name, t.read()) for name, t in open_safetensors(path).items()}


def as_float(path: Any, name: Any, value: Any) -> np.ndarray:
    """An array of numbers in float32; ValueError for anything else."""
    array = np.asarray(value) if isinstance(value, np.ndarray | int | float) else None
    if array is None or array.dtype.kind in "bcOSUMm" or array.dtype.names is not None:
        raise ValueError(f"{path}: {str(name)[:80]!r} must be an array of numbers; got {shown(value)}.")
    return array.astype(np.float32)


def check_axes(path: Any, arrays: Mapping[str, Any], **axes: int) -> None:
    """Arrays by name have so many axes, none of them empty; a name with a dot is spelled `a__b`."""
    for name, count in axes.items():
        name = name.replace("__", ".")
        if name in arrays and (np.ndim(arrays[name]) != count or 0 in np.shape(arrays[name])):
            raise ValueError(
                f"{path}: {name!r} must have {count} axes, none of them empty; it has the shape {np.shape(arrays[name])}."
            )


def listed_tensors(tensors: Mapping[str, Any], limit: int = 16) -> str:
    """`name (shape)` of each."""
    each = [f"{name} {tuple(getattr(value, 'shape', ()))}" for name, value in tensors.items()]
    return ", ".join(each[:limit]) + (f" and {len(each) - limit} more" if each[limit:] else "")
