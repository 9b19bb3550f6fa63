"""How many rows are read at a time."""

from typing import Any

import numpy as np

from ..core._check import is_int

BYTES = 2**28  # what the numbers of one pass may take by default, 256 MiB


def fitting(pos: int, width: int, max_bytes: int | str = "auto") -> int:
    """Rows of `pos` tokens, with `width` float32 numbers for each token, that fit in `max_bytes`; at least 1."""
    if isinstance(max_bytes, str) and max_bytes == "auto":
        limit = BYTES
    elif is_int(max_bytes) and int(max_bytes) > 0:
        limit = int(max_bytes)
    else:
        raise ValueError(f"max_bytes is a number of bytes, 2**28 for 256 MiB, or 'auto'; got {max_bytes!r}.")
    return max(1, limit // (4 * pos * max(1, width)))


def as_batch_size(size: Any, default: int, rows: int) -> int:
    """The rows of a batch: the requested number, or `default` for "auto" and None; at most `rows`."""
    if size is None or (isinstance(size, str) and size == "auto"):
        size = default
    check_batch_size(size, ", or 'auto'")
    return min(int(size), rows)


def check_batch_size(size: Any, other: str = "") -> None:
    """Raises `ValueError` for a size that is no int of at least 1; `other` names another value that the caller takes."""
    if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
        raise ValueError(f"batch_size is the number of rows in a batch, at least 1{other}; got {size!r}.")
