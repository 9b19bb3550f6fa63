"""Checkpoints that torch saved, without torch and without executing what they contain.

A torch file since version 1.6 is an uncompressed zip: `NAME/data.pkl` is a pickle of containers
whose tensors point at storages, and `NAME/data/KEY` are those storages, raw. A pickle is a program
that may call any function; this reader hands it six harmless ones and refuses the rest by name.
"""

import functools
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import BadCheckpoint, UnsafePickle
from ._storages import DTYPES, STORAGES, ZIP_ERRORS, Call, Name, Storages, rebuild, rebuild_v3
from ._tensors import LazyTensor

MAX_PICKLE_BYTES = 256 * 2**20  # the pickle holds names and shapes, never weights


def read_torch(path: str | Path) -> Any:
    """What `torch.save` wrote, with NumPy arrays for tensors: dicts, lists, numbers, text.

    Raises `UnsafePickle` when the file asks for anything else (nothing is executed), and
    `BadCheckpoint` when it is truncated, corrupt or in the format of torch before 1.6.

    ```python
    ji.hub.read_torch("ae.pt")["encoder.weight"].shape
    ```
    """
    return _materialise(open_torch(Path(path)))


def open_torch(path: Path) -> Any:
    """As `read_torch`, but tensors are `LazyTensor`s: no storage is read yet."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        if not zipfile.is_zipfile(path):
            raise BadCheckpoint(_not_a_zip(path))
        with zipfile.ZipFile(path) as archive:
            return _unpickle(path, archive)
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
                f"{path} must hold tensors by name; {name!r} is a {type(tensor).__name__}. "
                f"Read it with ji.hub.read_torch({str(path)!r}) and pick the part with the weights."
            )
    return state


def _unpickle(path: Path, archive: zipfile.ZipFile) -> Any:
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
    storages = Storages(path, prefix, big_endian, entries)
    program = archive.read(entry)
    try:
        _check_memo(program)
        return _Restricted(io.BytesIO(program), storages).load()
    except BadCheckpoint as error:
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise BadCheckpoint(f"{path}: the pickle nests too deeply to be a checkpoint.") from None
    except Exception as error:  # a broken pickle can fail anywhere in the unpickler
        raise BadCheckpoint(
            f"{path}: the pickle inside is corrupt ({type(error).__name__}: {error}); fetch the "
            "file again."
        ) from error


def _check_memo(program: bytes) -> None:
    """The unpickler allocates as many memo slots as a pickle asks for: no more than its bytes."""
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(program):
            raise BadCheckpoint(f"the pickle inside asks for {argument} memo slots: it is corrupt.")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> bytes:
    return b"" if entry is None or entry.file_size > 64 else archive.read(entry)


def _not_a_zip(path: Path) -> str:
    with path.open("rb") as file:
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
    return (
        f"{path} must be a zip as torch.save writes it; it is truncated, corrupt or another file."
    )


class _State(dict):
    """Stands for OrderedDict: the attributes that torch hangs on it (`_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Call(_State),
    ("torch._utils", "_rebuild_tensor_v2"): Call(rebuild),
    ("torch._utils", "_rebuild_tensor_v3"): Call(rebuild_v3),
    ("torch._utils", "_rebuild_parameter"): Call(lambda data, *rest: data),
    ("torch._utils", "_rebuild_parameter_with_state"): Call(lambda data, *rest: data),
    ("torch", "Size"): Call(tuple),
    ("torch", "device"): Call(lambda *names: ":".join(map(str, names))),
    **{("torch", name): Name(dtype) for name, dtype in STORAGES.items()},
    **{("torch.storage", name): Name(dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): Name(name) for name in DTYPES},
}


class _Restricted(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storages: Storages) -> None:
        super().__init__(file, encoding="utf-8")
        self._find_storage = functools.cache(storages.find)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickle(
                f"the pickle asks for {module}.{name}, and only tensors in plain containers are "
                "read. Nothing was executed. If you trust the file, load it with torch elsewhere "
                "and save its state dict as safetensors."
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("storage", Name(dtype), key, _location, count):
                return self._find_storage(key, dtype, count)
        raise UnsafePickle(f"the pickle points at {str(pid)[:80]!r}, which is not a storage.")


def _materialise(value: Any) -> Any:
    match value:
        case LazyTensor():
            return np.array(value.read())
        case dict():
            return {key: _materialise(item) for key, item in value.items()}
        case list():
            return [_materialise(v) for v in value]
        case tuple():
            return tuple(_materialise(v) for v in value)
        case Name(dtype):
            return np.dtype(DTYPES[dtype])
    return value
