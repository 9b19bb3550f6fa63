"""Token ids that stay on disk: memory-mapped files and arrays of tensorstore, read row by row."""

from typing import Any

import numpy as np

from ..core._check import as_int32


class TokenRows:
    """Ids `(row, pos)` on disk; `token_rows[rows]` reads these rows alone, as int32."""

    def __init__(self, source: Any) -> None:
        dtype = getattr(source.dtype, "numpy_dtype", source.dtype)
        if len(source.shape) != 2 or not np.issubdtype(dtype, np.integer) or not source.shape[0]:
            raise ValueError(
                "Tokens are int ids (row, pos), one context to a row; got the shape "
                f"{tuple(source.shape)} of {dtype}. A flat file of ids: ids.reshape(-1, ctx)."
            )
        self.source, self.shape = source, tuple(int(n) for n in source.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        found = self.source[rows]
        found = found.read().result() if hasattr(found, "read") else found
        return as_int32(np.asarray(found), "A token id")


def is_stored(tokens: Any) -> bool:
    """Whether tokens are on disk, and not an array in memory."""
    if isinstance(tokens, np.memmap) or type(tokens).__module__.split(".")[0] == "tensorstore":
        return True
    # Also an `ids.reshape(...)` of a mapped file.
    base = getattr(tokens, "base", None) if isinstance(tokens, np.ndarray) else None
    return isinstance(base, np.memmap)
