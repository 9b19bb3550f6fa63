"""Arrays in NumPy's own format, none of which is larger than what holds it."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ._zip import open_zip

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def npy_header(file: Any, left: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype of the array that begins here, of at most `left` bytes.

    Raises ValueError for anything else, and for arrays of objects, which are pickles.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it is a .npy file of version {version}")
    shape, fortran, dtype = _HEADERS[version](file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or len(shape) > 32 or min(shape, default=0) < 0 or not 0 <= size <= left:
        raise ValueError(
            f"an array of {size:,} bytes is promised, {str(dtype)[:40]}{list(shape)[:32]}, and there are {left:,}"
        )
    return shape, fortran, dtype


def read_npz(path: Path, error: type[ValueError] = ValueError) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`; together they have at most 16 times the bytes of the file, and 64 MiB.

    Raises `error` for a file that is damaged or holds anything but numbers.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with open_zip(path, error) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
            size, most = sum(e.file_size for e in entries), 16 * path.stat().st_size + 2**26
            if size > most:
                raise error(
                    f"{path} unpacks to {size:,} bytes, and at most {most:,} are made of a file of its size."
                )
            for entry in entries:
                with archive.open(entry) as file:
                    shape, fortran, dtype = npy_header(file, entry.file_size)
                    flat = np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype)
                    array = flat.reshape(shape, order="F" if fortran else "C")
                if array.dtype.kind not in "biufc":
                    raise ValueError(f"{entry.filename[:80]!r} holds {str(dtype)[:40]}, no numbers")
                found[entry.filename.removesuffix(".npy")] = array
    except FileNotFoundError:
        raise
    except Exception as wrong:  # zipfile, zlib and NumPy raise a dozen kinds
        if str(path) in str(wrong):
            raise
        raise error(
            f"{path} is no .npz, or it is damaged ({type(wrong).__name__}: {str(wrong)[:200]})."
        ) from wrong
    return found
