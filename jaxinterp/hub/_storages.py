"""Tensors in a torch zip: storages by key, and views into them by offset, shape and stride.

All that a pickle is given to hold is here; it is frozen, and setting its state is refused.
"""

import dataclasses
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from .._read import shown
from ._errors import BadCheckpoint, UnsafePickle
from ._tensors import LazyTensor

# What zipfile raises for damaged archives: flipped flags look like encryption or unknown methods.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}


@dataclasses.dataclass(frozen=True)
class Storages:
    """Where the storages of one file lie, and how many bytes (`most`) its tensors may have together."""

    path: Path
    prefix: str
    big_endian: bool
    entries: dict[str, zipfile.ZipInfo]
    most: int
    made: list[int] = dataclasses.field(default_factory=lambda: [0])

    def find(self, key: str, dtype: str, count: int) -> "Storage":
        entry = self.entries.get(f"{self.prefix}data/{key}")
        if entry is None:
            raise BadCheckpoint(f"storage {key[:80]!r} is not in the file: it is truncated.")
        if dtype not in DTYPES:
            raise BadCheckpoint(f"storage {key[:80]!r} is of {dtype}, which is no dtype.")
        kind = np.dtype(DTYPES[dtype])
        if entry.compress_type != zipfile.ZIP_STORED:
            raise BadCheckpoint(f"storage {key!r} is compressed, which torch never writes.")
        if not 0 <= count * kind.itemsize <= entry.file_size:
            raise BadCheckpoint(
                f"storage {key!r} should hold {count} elements of {dtype}; its entry has "
                f"{entry.file_size:,} bytes: the file is corrupt."
            )
        return Storage(self, entry, kind)

    def count(self, shape: tuple[int, ...], size: int) -> None:
        """Counts the bytes of one more tensor."""
        self.made[0] += size
        if self.made[0] > self.most:
            raise BadCheckpoint(
                f"a tensor of shape {shown(shape)} repeats its storage: tensors up to it have "
                f"{self.made[0]:,} bytes together, and at most {self.most:,} are made of this file. "
                f"Where it is right: ji.hub.read_torch(path, max_bytes=...)."
            )


class Inert:
    """What a pickle may hold but not change: setting its state is refused."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickle("the pickle tries to change the reader itself. Nothing was executed.")


@dataclasses.dataclass(frozen=True)
class Storage(Inert):
    home: Storages
    entry: zipfile.ZipInfo
    dtype: np.dtype

    def read(self, dtype: np.dtype, start: int, count: int) -> np.ndarray:
        size = count * dtype.itemsize
        try:
            with zipfile.ZipFile(self.home.path) as archive, archive.open(self.entry) as file:
                file.seek(start * dtype.itemsize)
                data = file.read(size)
        except ZIP_ERRORS as error:
            raise BadCheckpoint(f"{self.home.path} is corrupt ({error}); fetch it again.") from error
        if len(data) != size:
            raise BadCheckpoint(f"{self.home.path} is truncated in {self.entry.filename}.")
        flat = np.frombuffer(data, dtype)
        return flat.byteswap() if self.home.big_endian else flat


@dataclasses.dataclass(frozen=True)
class Name(Inert):
    """A storage class or a dtype: only its name matters."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class Call(Inert):
    """One of the few functions that a pickle may call."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def rebuild(
    storage: Storage, offset: int, shape: tuple, stride: tuple, *rest: Any, dtype: Any = None
) -> LazyTensor:
    if dtype is not None and not (isinstance(dtype, Name) and dtype.dtype in DTYPES):
        raise BadCheckpoint(f"a tensor of the dtype {shown(dtype)}.")
    kind = storage.dtype if dtype is None else np.dtype(DTYPES[dtype.dtype])
    axes = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= 32
    if not axes or not all(isinstance(n, int) and 0 <= n < 2**48 for n in (offset, *shape, *stride)):
        raise BadCheckpoint(
            f"a tensor of shape {shown(shape)}, stride {shown(stride)}, offset {shown(offset)}."
        )
    empty = 0 in shape
    extent = 0 if empty else 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if (offset + extent) * kind.itemsize > storage.entry.file_size:
        raise BadCheckpoint(
            f"a tensor of shape {shape} reaches beyond its storage of "
            f"{storage.entry.file_size:,} bytes: the file is corrupt."
        )
    if math.prod(n for n in shape if n) * kind.itemsize >= 2**62:
        raise BadCheckpoint(f"a tensor of shape {shape}, which no array can have.")
    storage.home.count(shape, math.prod(shape) * kind.itemsize)

    def read() -> np.ndarray:
        flat = storage.read(kind, offset, extent)
        if empty:
            return np.zeros(shape, kind)
        steps = tuple(s * kind.itemsize for s in stride)
        return np.ndarray(shape, kind, buffer=flat.view(np.uint8).data, strides=steps)

    return LazyTensor(tuple(shape), kind, read)


def rebuild_v3(
    storage: Storage,
    offset: int,
    shape: tuple,
    stride: tuple,
    grad: Any,
    hooks: Any,
    dtype: Any,
    *rest: Any,
) -> LazyTensor:
    return rebuild(storage, offset, shape, stride, dtype=dtype)
