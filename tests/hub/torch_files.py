"""Writes the zip files of torch without torch, opcode by opcode: good ones and malicious ones."""

import dataclasses
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclasses.dataclass
class Raw:
    """Opcodes as they are."""

    code: bytes


def call(name: str, *args: Any) -> Raw:
    """`module.name(*args)` in a pickle."""
    return Raw(name_of(name).code + encode(args) + b"R")


def name_of(name: str) -> Raw:
    module, _, attribute = name.rpartition(".")
    return Raw(f"c{module}\n{attribute}\n".encode())


def storage(key: str, dtype: str, count: int) -> Raw:
    pid = ("storage", name_of(f"torch.{KINDS[dtype]}"), key, "cpu", count)
    return Raw(encode(pid) + b"Q")


def tensor(key: str, dtype: str, shape: tuple, stride: tuple, count: int, offset: int = 0) -> Raw:
    empty = call("collections.OrderedDict")
    return call(
        "torch._utils._rebuild_tensor_v2", storage(key, dtype, count), offset, shape, stride, False, empty
    )


def encode(value: Any) -> bytes:
    match value:
        case Raw():
            return value.code
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(encode, value)) + b"t"
        case list():
            return b"](" + b"".join(map(encode, value)) + b"e"
        case dict():
            return b"}(" + b"".join(encode(k) + encode(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


def write(
    path: Path,
    value: Any,
    storages: dict[str, bytes] | None = None,
    *,
    order: str = "little",
    compress: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + encode(value) + b".")
        archive.writestr("archive/byteorder", order)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_state(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A state dict, as `torch.save(model.state_dict(), path)`."""
    entries, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        array = np.ascontiguousarray(array)
        stride = tuple(s // array.itemsize for s in array.strides)
        entries[name] = tensor(str(number), array.dtype.name, array.shape, stride, array.size)
        storages[str(number)] = array.tobytes()
    pairs = b"(" + b"".join(encode(k) + encode(v) for k, v in entries.items()) + b"u"
    metadata = Raw(encode({"_metadata": call("collections.OrderedDict")}))
    state = Raw(call("collections.OrderedDict").code + pairs + metadata.code + b"b")
    return write(path, state, storages)


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
