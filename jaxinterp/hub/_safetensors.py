"""`.safetensors` files, tensor by tensor (https://github.com/huggingface/safetensors)."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from .._deprecations import check_path_first
from .._disk import beside
from .._read import open_regular, regular
from ..typing import ArraysLike, PathLike
from ._errors import BadCheckpoint
from ._tensors import LazyTensor, Tensors, with_twins

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "C64": np.complex64,
}

MAX_HEADER = 2**24
"""Bytes of names and shapes: of about 150,000 tensors."""


def open_safetensors(path: PathLike) -> Tensors:
    """The tensors of a `.safetensors` file by name. Only the header is read; each tensor is read when it is used.

    safetensors' `save_model` stores tensors that share their memory once: the metadata then name the
    tensors left out, each with the one that was kept. The result has all of these names.

    **Raises:** `BadCheckpoint` for a file that is truncated or has another format.

    ```python
    tensors = ji.hub.open_safetensors("my-model/model.safetensors")
    name = next(iter(tensors))
    tensors[name].shape, tensors[name].read()
    ```
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    size = regular(path, BadCheckpoint)
    with open_regular(path, BadCheckpoint) as start:
        begins = start.read(40)
    header = int.from_bytes(begins[:8], "little")
    if header <= size and header > MAX_HEADER:
        raise BadCheckpoint(f"{path}: its header has {header:,} bytes, and at most {MAX_HEADER:,} are read.")
    try:
        file = safe_open(path, framework="np")
    except (SafetensorError, OSError, ValueError) as error:
        pointer = begins.startswith(b"version https://git-lfs")
        why = "it is a Git LFS pointer, not the file" if pointer else "it is truncated or corrupt"
        raise BadCheckpoint(
            f"{path} ({size:,} bytes) cannot be read as safetensors ({error}): {why}. Fetch it again."
        ) from error

    def lazy(name: str) -> LazyTensor:
        part = file.get_slice(name)
        kind = part.get_dtype()
        if kind not in DTYPES:
            raise BadCheckpoint(f"{path}: tensor {name!r} has dtype {kind}; known are {', '.join(DTYPES)}.")
        shape = tuple(part.get_shape())
        if len(shape) > 32 or math.prod(n for n in shape if n) >= 2**60:
            raise BadCheckpoint(f"{path}: tensor {name!r} has a shape that no array can have.")
        dtype = np.dtype(DTYPES[kind])
        rows = _rows_of(path, 8 + header + offsets[name], shape, dtype) if name in offsets else None
        return LazyTensor(shape, dtype, lambda: file.get_tensor(name), rows)

    offsets = _offsets(path, header)
    found = {name: lazy(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    return with_twins(found, file.metadata() or {})


def _offsets(path: Path, header: int) -> dict[str, int]:
    """Where each tensor begins, behind the header, which `safe_open` has checked."""
    with path.open("rb") as file:
        file.seek(8)
        entries = json.loads(file.read(header))
    return {name: entry["data_offsets"][0] for name, entry in entries.items() if name != "__metadata__"}


def _rows_of(
    path: Path, begins: int, shape: tuple[int, ...], dtype: np.dtype
) -> Callable[[int, int], np.ndarray] | None:
    """Reads rows by themselves; a map of the file into memory would count as this process's."""
    if not shape:
        return None
    each = math.prod(shape[1:]) * dtype.itemsize

    def read(start: int, stop: int) -> np.ndarray:
        rows = np.empty((max(stop - start, 0), *shape[1:]), dtype)
        with path.open("rb", buffering=0) as file:
            file.seek(begins + start * each)
            view, done = rows.reshape(-1).view(np.uint8).data, 0
            while done < len(view):
                count = file.readinto(view[done:])
                if not count:
                    raise BadCheckpoint(f"{path} ended while it was read: it is truncated. Fetch it again.")
                done += count
        return rows

    return read


def save_safetensors(path: PathLike, arrays: ArraysLike) -> None:
    """Writes arrays into one `.safetensors` file, whole or not at all, with the metadata that other readers expect.

    ```python
    ji.hub.save_safetensors("weights.safetensors", {"weight": np.zeros((2, 3))})
    ji.hub.open_safetensors("weights.safetensors")["weight"].read()
    ```
    """
    check_path_first("ji.hub.save_safetensors(path, arrays)", path)
    from safetensors.numpy import save_file

    # NumPy gives a number an axis when it makes it contiguous; the shape is put back.
    contiguous = {n: np.ascontiguousarray(a).reshape(np.shape(a)) for n, a in arrays.items()}
    with beside(Path(path)) as partial:
        save_file(contiguous, partial, metadata={"format": "pt"})
