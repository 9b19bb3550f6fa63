"""A checkpoint as every reader gives it: names to tensors that are read when asked for."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from .. import _read
from .._read import TABLE, Rule, check, or_null, table_of
from ..typing import PathLike
from ._errors import BadCheckpoint

MAX_SHARDS = 4096
"""Files of one checkpoint; those of a model of 10^12 weights are a few hundred."""
_NAME = Rule("the name of a file, a text", lambda v: isinstance(v, str))
INDEX = {"weight_map": table_of(_NAME), "metadata": or_null(TABLE)}


@dataclasses.dataclass(frozen=True)
class LazyTensor:
    """A tensor on disk: its shape and dtype are known, and `read()` reads its numbers, anew at each call.

    `rows(start, stop)` reads a part of its first axis alone. It is None where the format cannot do that.

    ```python
    tensors = ji.hub.open_safetensors("my-model/model.safetensors")
    largest = max(tensors.values(), key=lambda tensor: tensor.nbytes)
    largest.reader()(0, 4)                 # the first four rows
    ```
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    rows: Callable[[int, int], np.ndarray] | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def reader(self) -> Callable[[int, int], np.ndarray]:
        """A function of `(start, stop)` to that part of the first axis; it may hold the whole tensor."""
        if self.rows is not None:
            return self.rows
        whole = self.read()
        return lambda start, stop: whole[start:stop]


Tensors = Mapping[str, LazyTensor]


def in_memory(arrays: Mapping[str, np.ndarray]) -> Tensors:
    """Arrays in memory as the tensors of a checkpoint: each name with a `LazyTensor`.

    ```python
    tensors = ji.hub.in_memory({"weight": weight})
    tensors["weight"].read()
    ```
    """

    def lazy(array: np.ndarray) -> LazyTensor:
        return LazyTensor(tuple(array.shape), np.dtype(array.dtype), lambda: array)

    return {name: lazy(np.asarray(array)) for name, array in arrays.items()}


def with_twins(tensors: Tensors, twins: Mapping[str, str]) -> dict[str, LazyTensor]:
    """The tensors, and those that are absent under the names of their twins (absent to there)."""
    more = {name: tensors[kept] for name, kept in twins.items() if kept in tensors}
    return {**more, **tensors}


def read_json(
    path: PathLike, *, max_bytes: int = _read.MAX_BYTES, constants: bool = True
) -> Mapping[str, Any]:
    """Reads the object in a JSON file. An error names the file when it holds no object.

    **Arguments:**

    - `path`: the file.
    - `max_bytes`: larger files are refused.
    - `constants`: whether NaN and infinities are floats. They are no JSON, but Python writes them.

    **Raises:** `FileNotFoundError`, and `BadCheckpoint` for a file that is no JSON, a key that stands twice,
    containers that nest deeper than 64, and more than half a million values.

    ```python
    ji.hub.read_json("my-model/config.json")["model_type"]
    ```
    """
    path = Path(path)
    content = _read.read_json(
        path,
        error=BadCheckpoint,
        max_bytes=max_bytes,
        constants=constants,
        hint="the file is truncated or corrupt: fetch it again.",
    )
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path} must hold a JSON object; got a {type(content).__name__}.")
    return content


def inside(folder: Path, name: str, *, said_by: str) -> Path:
    """`folder / name`, if that is a file of the folder; names in an index are not to be trusted.

    A snapshot in the hub's cache is a folder of links into `blobs` beside it, which are allowed.
    """
    rule = f"{said_by} may only name files inside its own folder {folder}"
    plain = name and "\0" not in name
    if not plain or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        raise BadCheckpoint(f"{rule}; it names {name[:200]!r}. Nothing was read from there.")
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise BadCheckpoint(f"{rule}; it names {name[:200]!r}. Nothing was read from there.")
    target, root = (folder / name).resolve(), folder.resolve()
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(place) for place in allowed):
        raise BadCheckpoint(f"{rule}; {name!r} is a link to {target}. Nothing was read from there.")
    return folder / name


def open_sharded(
    index: Path, open_one: Callable[[Path], Tensors]
) -> tuple[dict[str, LazyTensor], tuple[Path, ...]]:
    """The tensors of all files that an index (`*.index.json`) names, and those files."""
    content = read_json(index)
    if not content.get("weight_map"):
        raise BadCheckpoint(f"{index} must hold a `weight_map` of tensor names to file names; it has none.")
    entries = content["weight_map"]
    files = (
        len({each for each in entries.values() if isinstance(each, str)}) if isinstance(entries, dict) else 0
    )
    if files > MAX_SHARDS:
        raise BadCheckpoint(
            f"{index} names {files:,} files, and at most {MAX_SHARDS:,} are read of one checkpoint."
        )
    weight_map = check(index, content, INDEX, error=BadCheckpoint)["weight_map"]
    names = sorted(set(weight_map.values()))
    files = [inside(index.parent, name, said_by=f"The index {index.name}") for name in names]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise FileNotFoundError(
            f"The index {index.name} names {', '.join(absent)}, not in {index.parent}: "
            "the download is incomplete; fetch the folder again."
        )
    tensors: dict[str, LazyTensor] = {}
    for file in files:
        for name, tensor in open_one(file).items():
            if weight_map.get(name, file.name) == file.name:
                tensors[name] = tensor
    lost = [name for name in weight_map if name not in tensors]
    if lost:
        raise BadCheckpoint(
            f"The index {index.name} promises {lost[0]!r} in {weight_map[lost[0]]}, which does "
            f"not hold it ({len(lost)} tensors are missing): fetch the folder again."
        )
    return tensors, tuple(files)
