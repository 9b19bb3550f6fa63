"""Writes files that `torch.load` reads, without torch: arrays in plain containers.

The counterpart of `read_torch`: an uncompressed zip of a pickle, whose tensors point at storages,
and of those storages. The pickle is written opcode by opcode and names two functions of torch.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .._deprecations import check_path_first
from .._disk import beside
from ..typing import PathLike, PyTree
from ._storages import STORAGES

_KINDS = {dtype: kind for kind, dtype in STORAGES.items() if kind != "UntypedStorage"}
_ALIGN = 64


def write_torch(path: PathLike, value: PyTree) -> None:
    """Writes dicts, lists, tuples, numbers and texts, with arrays for tensors, as `torch.save` does.

    The file appears whole or not at all.

    **Raises:** `ValueError` for a value that torch would not read back as it is.

    ```python
    ji.hub.write_torch("params.pt", {"0.weight": weight})
    ```

    Law: `read_torch` gives the same back, and so does `torch.load(path, weights_only=True)`.
    """
    check_path_first("ji.hub.write_torch(path, value)", path)
    path = Path(path)
    storages: list[np.ndarray] = []
    program = b"\x80\x02" + _encode(value, storages) + b"."
    with beside(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "data.pkl", program)
        _put(archive, "byteorder", b"little")
        for number, array in enumerate(storages):
            _put(archive, f"data/{number}", array.tobytes())
        _put(archive, "version", b"3\n")


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """An entry whose bytes begin at a multiple of 64, so that torch can map them from disk."""
    entry = zipfile.ZipInfo(f"archive/{name}")
    assert archive.fp is not None
    begins = archive.fp.tell() + 30 + len(entry.filename) + 4
    padding = -begins % _ALIGN
    entry.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    archive.writestr(entry, data)


def _encode(value: Any, storages: list[np.ndarray]) -> bytes:
    """A pickle of protocol 2 that leaves `value` on the stack."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return _integer(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case dict():
            items = b"".join(_encode(part, storages) for item in value.items() for part in item)
            return b"}(" + items + b"u"
        case list():
            return b"](" + b"".join(_encode(item, storages) for item in value) + b"e"
        case tuple():
            return b"(" + b"".join(_encode(item, storages) for item in value) + b"t"
        case _ if hasattr(value, "__array__"):
            return _tensor(np.asarray(value), storages)
    raise ValueError(
        "A torch file holds arrays, numbers, text and None in dicts, lists and tuples; got a "
        f"{type(value).__name__}."
    )


def _integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _tensor(array: np.ndarray, storages: list[np.ndarray]) -> bytes:
    """`torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`."""
    if array.dtype.name not in _KINDS:
        raise ValueError(f"torch has no tensor of dtype {array.dtype}: convert the array.")
    shape = array.shape
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    strides = tuple(int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape)))
    storages.append(array)
    kind = f"ctorch\n{_KINDS[array.dtype.name]}\n".encode()
    key = _encode(str(len(storages) - 1), []) + _encode("cpu", []) + _integer(array.size)
    storage = b"(" + _encode("storage", []) + kind + key + b"tQ"
    about = _integer(0) + _encode(shape, []) + _encode(strides, []) + b"\x89"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + about + hooks + b"tR"
