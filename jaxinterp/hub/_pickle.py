"""Checkpoints that torch saved, without torch and without executing what they contain.

A torch file since version 1.6 is an uncompressed zip: `NAME/data.pkl` is a pickle of containers
whose tensors point at storages, and `NAME/data/KEY` are those storages, raw. A pickle is a program
that may call any function; this reader hands it six harmless ones and refuses the rest by name.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .._read import open_regular, open_zip, regular, shown
from ..typing import PathLike, PyTree
from ._errors import BadCheckpoint, UnsafePickle
from ._pickle_machine import MAX_STEPS, Machine, PickledState
from ._storages import (
    DTYPES,
    STORAGES,
    ZIP_ERRORS,
    Call,
    Name,
    Storage,
    Storages,
    rebuild,
    rebuild_v3,
)
from ._tensors import LazyTensor

MAX_PICKLE_BYTES = 32 * 2**20  # the pickle holds names and shapes, never weights
MAX_DEPTH = 64  # containers in each other


def read_torch(path: PathLike, *, max_bytes: int | None = None) -> PyTree:
    """Reads a file of `torch.save`: dicts, lists, numbers and texts, with NumPy arrays for tensors.

    **Arguments:**

    - `path`: the file.
    - `max_bytes`: the most bytes that all tensors may take together. Views and strides of 0 repeat what the
      file holds; by default the tensors may take four times the size of the file, plus 64 MiB.

    **Raises:** `UnsafePickle` when the file holds anything else (no code of it is executed), and
    `BadCheckpoint` when it is truncated or corrupt, exceeds `max_bytes`, or was written by torch before 1.6.

    ```python
    ji.hub.read_torch("ae.pt")["encoder.weight"].shape
    ```
    """
    path = Path(path)
    found = open_torch(path, max_bytes)
    if _items(path, found, {}) > MAX_STEPS:
        raise BadCheckpoint(
            f"{path}: the pickle inside holds more than {MAX_STEPS:,} items, the same ones again and "
            "again: it is no checkpoint."
        )
    return _Arrays(path).of(found)


def open_torch(path: Path, max_bytes: int | None = None) -> Any:
    """As `read_torch`, but tensors are `LazyTensor`s: no storage is read yet."""
    size = regular(path, BadCheckpoint)
    most = 4 * size + 2**26 if max_bytes is None else max_bytes
    try:
        if not zipfile.is_zipfile(path):
            raise BadCheckpoint(_not_a_zip(path))
        with open_zip(path, BadCheckpoint) as archive:
            return _unpickle(path, archive, most)
    except BadCheckpoint:
        raise
    except ZIP_ERRORS as error:
        raise BadCheckpoint(f"{path} is truncated or corrupt ({error}); fetch it again.") from error


def open_torch_state(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a state dict: a flat mapping of names to tensors, as models are saved."""
    state = open_torch(path)
    if not isinstance(state, dict):
        raise BadCheckpoint(f"{path} must hold a dict of tensors; got a {type(state).__name__}.")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, LazyTensor):
            raise BadCheckpoint(
                f"{path} must hold tensors by name; {shown(name)} is a {type(tensor).__name__}. "
                f"Read it with ji.hub.read_torch({str(path)!r}) and pick the part with the weights."
            )
    return state


def _unpickle(path: Path, archive: zipfile.ZipFile, most: int) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    programs = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(programs) != 1:
        scripted = any(name.endswith("/constants.pkl") for name in entries)
        what = "a TorchScript program" if scripted else "not a checkpoint of torch"
        raise BadCheckpoint(
            f"{path} must be a zip with one NAME/data.pkl; this one is {what} "
            f"({len(entries)} entries). Save the state dict: torch.save(model.state_dict(), ...)."
        )
    entry = entries[programs[0]]
    if entry.file_size > MAX_PICKLE_BYTES or entry.compress_type != zipfile.ZIP_STORED:
        raise BadCheckpoint(
            f"{path}: {entry.filename} is compressed or claims {entry.file_size:,} bytes (at most "
            f"{MAX_PICKLE_BYTES:,} are read); torch writes neither."
        )
    prefix = programs[0].removesuffix("data.pkl")
    big_endian = _read_entry(archive, entries.get(f"{prefix}byteorder")) == b"big"
    storages = Storages(path, prefix, big_endian, entries, most)
    try:
        return Machine(archive.read(entry), _find, lambda pid: _storage(storages, pid)).run()
    except BadCheckpoint as error:
        raise type(error)(f"{path}: {error}") from None
    except Exception as error:  # a broken pickle can fail anywhere
        raise BadCheckpoint(
            f"{path}: the pickle inside is corrupt ({type(error).__name__}: {error}); fetch the file again."
        ) from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> bytes:
    return b"" if entry is None or entry.file_size > 64 else archive.read(entry)


def _not_a_zip(path: Path) -> str:
    with open_regular(path, BadCheckpoint) as file:
        start = file.read(64)
    if not start:
        return f"{path} is empty; fetch it again."
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the file; fetch it again."
    if b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" in start:
        return (
            f"{path} is in the format of torch before 1.6, which this reader does not know. Save it "
            "anew with a current torch (torch.save), or better as safetensors."
        )
    if start[:1] == b"\x80" or start[:2] == b"PK":
        kind = "a truncated zip" if start[:2] == b"PK" else "a bare pickle"
        return f"{path} must be a zip as torch.save writes it; got {kind}. Fetch it again."
    return f"{path} must be a zip as torch.save writes it; it is truncated, corrupt or another file."


def _ordered(pairs: Any = ()) -> PickledState:
    """An OrderedDict of pairs, as the first torch files write it."""
    found = PickledState()
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise BadCheckpoint(f"an OrderedDict is made of pairs of a name and a value; got {shown(pair)}.")
        found[pair[0]] = pair[1]
    return found


def _size(sizes: Iterable[Any] = ()) -> tuple[int, ...]:
    found = tuple(sizes)
    if not all(isinstance(size, int) for size in found):
        raise BadCheckpoint(f"a torch.Size is made of ints; got {shown(found)}.")
    return found


def _device(*names: Any) -> str:
    if not all(isinstance(name, str | int) for name in names):
        raise BadCheckpoint(f"a device has a name and a number; got {shown(names)}.")
    return ":".join(map(str, names))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Call(_ordered),
    ("torch._utils", "_rebuild_tensor_v2"): Call(rebuild),
    ("torch._utils", "_rebuild_tensor_v3"): Call(rebuild_v3),
    ("torch._utils", "_rebuild_parameter"): Call(lambda data, *rest: data),
    ("torch._utils", "_rebuild_parameter_with_state"): Call(lambda data, *rest: data),
    ("torch", "Size"): Call(_size),
    ("torch", "device"): Call(_device),
    **{("torch", name): Name(dtype) for name, dtype in STORAGES.items()},
    **{("torch.storage", name): Name(dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): Name(name) for name in DTYPES},
}


def _find(module: str, name: str) -> Any:
    if (module, name) not in _ALLOWED:
        raise UnsafePickle(
            f"the pickle asks for {module[:80]}.{name[:80]}, and only tensors in plain containers are "
            "read. Nothing was executed. If you trust the file, load it with torch elsewhere "
            "and save its state dict as safetensors."
        )
    return _ALLOWED[module, name]


def _storage(storages: Storages, pid: Any) -> Any:
    match pid:
        case ("storage", Name(dtype), str(key), _location, int(count)):
            return storages.find(key, dtype, count)
    raise UnsafePickle(f"the pickle points at {shown(pid)}, which is not a storage.")


def _items(path: Path, value: Any, known: dict[int, int], depth: int = 0) -> int:
    """How many values a tree has, written out; what it holds twice is counted once and added twice."""
    if depth > MAX_DEPTH:
        raise BadCheckpoint(f"{path}: the pickle inside nests deeper than {MAX_DEPTH}: it is no checkpoint.")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if id(value) not in known:
        containers = [each for each in inner if isinstance(each, dict | list | tuple)]
        known[id(value)] = 1 + len(inner) + sum(_items(path, each, known, depth + 1) for each in containers)
    return known[id(value)]


class _Arrays:
    """Containers with arrays in place of tensors: each tensor is read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read: dict[int, tuple[LazyTensor, np.ndarray]] = {}

    def of(self, value: Any) -> Any:
        match value:
            case LazyTensor():
                if id(value) not in self.read:
                    self.read[id(value)] = value, np.array(value.read())
                return self.read[id(value)][1]
            case dict():
                return {key: self.of(item) for key, item in value.items()}
            case list():
                return [self.of(item) for item in value]
            case tuple():
                return tuple(self.of(item) for item in value)
            case Name(dtype):
                if dtype not in DTYPES:
                    raise BadCheckpoint(f"{self.path}: {dtype} stands where a value is expected.")
                return np.dtype(DTYPES[dtype])
            case Call() | Storages() | Storage():
                raise BadCheckpoint(
                    f"{self.path}: the pickle inside holds a {type(value).__name__}, no value."
                )
        return value
