"""The header of a GGUF file: metadata and where each tensor lies, none of it beyond the end of the file.

The format: "GGUF", version, the numbers of tensors and of entries; an entry is a name, a type and a
value; a tensor a name, its sizes (the fastest first), its type and where its bytes begin.
"""

import dataclasses
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from .._read import regular
from ._errors import BadCheckpoint

MAX_ITEMS = 2**21
"""Entries of all arrays together; tokens, scores, types and merges of 256,000 tokens are 1,300,000."""
_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?", None, None, "u8", "i8", "f8")
_STRING, _ARRAY, _FLOAT = 8, 9, 6


@dataclasses.dataclass(frozen=True)
class Packed:
    """A tensor in the file: `shape` of its numbers, `kind` its type of the gguf package, `data` its bytes."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    data: np.ndarray


def read_header(path: Path, library: Any) -> tuple[dict[str, Any], list[Packed]]:
    """Metadata as Python values, and the tensors; none of their bytes is read now.

    Raises `BadCheckpoint` for a file that is truncated or is something else.
    """
    size = regular(path, BadCheckpoint)
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # ValueError where it is empty
        return _Header(data).read(library)
    except (ValueError, OverflowError) as error:
        raise BadCheckpoint(
            f"{path} ({size:,} bytes) cannot be read as GGUF ({error}): it is truncated or "
            "corrupt; fetch it again."
        ) from error


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.items, self.order = data, 0, 0, "<"

    def read(self, library: Any) -> tuple[dict[str, Any], list[Packed]]:
        if self.take(4) != b"GGUF":
            raise ValueError("its magic is not GGUF")
        version = self.number("u4")
        if version & 0xFFFF == 0:  # written the other way round
            self.order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (2, 3):
            raise ValueError(f"it is of version {version}; read are 2 and 3")
        tensors, entries = self.number("u8"), self.number("u8")
        left = len(self.data) - self.at
        if entries * 13 + tensors * 24 > left:
            raise ValueError(f"{entries} entries and {tensors} tensors do not fit into {left:,} bytes")
        about: dict[str, Any] = {}
        for _ in range(entries):
            name = self.text()
            if name in about:
                raise ValueError(f"the metadata {name[:80]!r} stands there twice")
            about[name] = self.named(name)
        each = [self.tensor(library) for _ in range(tensors)]
        return about, self.placed(each, about, library)

    def named(self, name: str) -> Any:
        try:
            return self.value(self.number("u4"))
        except ValueError as error:
            raise ValueError(f"the metadata {name[:80]!r} cannot be read, {error}") from error

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            kind, count = self.number("u4"), self.number("u8")
            self.items += count
            if self.items > MAX_ITEMS:
                raise ValueError(f"its arrays have more than {MAX_ITEMS:,} entries together")
            if kind == _STRING:
                return [self.text() for _ in range(count)]
            dtype = self.dtype(kind)
            return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        found = np.frombuffer(self.take(self.dtype(kind).itemsize), self.dtype(kind))[0]
        # A float32 by the shortest decimal that means it (1e-05).
        return float(str(found)) if kind == _FLOAT else found.item()

    def tensor(self, library: Any) -> tuple[str, tuple[int, ...], Any, int]:
        name, count = self.text(), self.number("u4")
        if count > 8:
            raise ValueError(f"the tensor {name[:80]!r} has {count} axes")
        sizes = [self.number("u8") for _ in range(count)]
        kind, start = self.number("u4"), self.number("u8")
        return name, tuple(reversed(sizes)), library.GGMLQuantizationType(kind), start

    def placed(self, each: list[Any], about: dict[str, Any], library: Any) -> list[Packed]:
        step = about.get("general.alignment", 32)
        if not isinstance(step, int) or step < 1 or step & (step - 1):
            raise ValueError(f"general.alignment is a power of two; it is {step!r}")
        begin = -(-self.at // step) * step
        whole, found = np.frombuffer(self.data, np.uint8), []
        for name, shape, kind, start in each:
            block, size = library.GGML_QUANT_SIZES[kind]
            count = math.prod(shape)
            if shape and shape[-1] % block:
                raise ValueError(f"rows of {name[:80]!r} are no whole blocks of {block}")
            first, last = begin + start, begin + start + count // block * size
            if last > len(self.data):
                raise ValueError(f"the tensor {name[:80]!r} lies beyond the end of the file")
            found.append(
                Packed(name, shape, kind, self.typed(whole[first:last], shape, kind.name, block, size))
            )
        if len({one.name for one in found}) != len(found):
            raise ValueError("a tensor stands there twice")
        return found

    def typed(self, raw: np.ndarray, shape: Any, kind: str, block: int, size: int) -> np.ndarray:
        """Bytes as the gguf package takes them: numbers of their own dtype, blocks as bytes."""
        plain = {"F16": "f2", "F32": "f4", "F64": "f8", "I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8"}
        if kind in plain:
            return raw.view(np.dtype(self.order + plain[kind])).reshape(shape)
        return raw.reshape((*shape[:-1], shape[-1] // block * size) if shape else (size,))

    def dtype(self, kind: int) -> np.dtype:
        known = _TYPES[kind] if kind < len(_TYPES) else None
        if known is None:
            raise ValueError(f"there is no type {kind}")
        return np.dtype(self.order + known)

    def number(self, of: str) -> int:
        return int(np.frombuffer(self.take(int(of[1])), self.order + of)[0])

    def text(self) -> str:
        return self.take(self.number("u8")).decode("utf-8")

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError(f"{count:,} bytes are asked for at byte {self.at:,}, beyond its end")
        found, self.at = self.data[self.at : self.at + count], self.at + count
        return found
