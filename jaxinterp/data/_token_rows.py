"""Token ids that stay where they are: mapped files and arrays of tensorstore, read row by row."""

from typing import Any

import numpy as np

from ..core._check import as_int32


class TokenRows:
    """Ids `(seq, pos)` of which only the rows that are asked for are read."""

    def __init__(self, source: Any) -> None:
        dtype = getattr(source.dtype, "numpy_dtype", source.dtype)
        if len(source.shape) != 2 or not np.issubdtype(dtype, np.integer) or not source.shape[0]:
            raise ValueError(
                "Tokens are int ids (seq, pos), one context to a row; got the shape "
                f"{tuple(source.shape)} of {dtype}. A flat file of ids: ids.reshape(-1, ctx)."
            )
        self.source, self.shape = source, tuple(int(n) for n in source.shape)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = self.source[rows]
        found = found.read().result() if hasattr(found, "read") else found
        return as_int32(np.asarray(found), "A token id")


def is_stored(tokens: Any) -> bool:
    """Whether tokens are something to read from, and no array in memory."""
    if isinstance(tokens, np.memmap) or type(tokens).__module__.split(".")[0] == "tensorstore":
        return True
    # Also an `ids.reshape(...)` of a mapped file.
    base = getattr(tokens, "base", None) if isinstance(tokens, np.ndarray) else None
    return isinstance(base, np.memmap)


def row_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of stored tokens `(seq, pos)`: one row for all of them, or in memory."""
    mask = np.ones(shape[1], bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"The mask of stored tokens {shape} is of bools, one row for all {shape[1:]} or one for each; "
            f"got {mask.shape} of {mask.dtype}. Without BOS: numpy.arange(ctx) > 0."
        )
    if not mask.any():
        raise ValueError("The mask selects no token at all.")
    return np.broadcast_to(mask, shape)
