"""SHA-256 of arrays and plain values: how a corpus, a model or a request is recognised again."""

import hashlib
from typing import Any

import numpy as np


def fingerprint(*values: Any) -> str:
    """SHA-256 of arrays and of what JSON can hold, in order."""
    digest = hashlib.sha256()
    for value in values:
        if hasattr(value, "dtype"):
            array = np.ascontiguousarray(np.asarray(value))
            digest.update(f"{array.dtype}{list(array.shape)}".encode())
            digest.update(as_bits(array).reshape(-1).view(np.uint8).data if array.size else b"")
        else:
            digest.update(repr(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def as_bits(x: np.ndarray) -> np.ndarray:
    """The same bytes as unsigned ints where NumPy's own formats do not know the dtype, such as bfloat16."""
    return x if x.dtype.isbuiltin == 1 else x.view(f"u{x.dtype.itemsize}")
