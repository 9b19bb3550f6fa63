"""Arrays inside a page: small pictures, and numbers as text that its script unpacks."""

import base64
import struct
import zlib
from typing import Any

import numpy as np

from ._pattern import rgba

MISSING = 65535
"What stands for NaN among packed shares; 1.0 is 65534."


def packed_shares(values: np.ndarray) -> str:
    """Numbers in [0, 1] as unsigned 16-bit integers in base64; NaN is `MISSING`."""
    whole = np.where(np.isfinite(values), np.rint(np.clip(np.nan_to_num(values), 0, 1) * 65534), MISSING)
    return base64.b64encode(whole.astype("<u2").tobytes()).decode()


def packed_pattern(weights: np.ndarray) -> dict[str, Any]:
    """Weights (head, query, key); of causal ones the keys up to the query alone."""
    size = weights.shape[-1]
    lower = np.tril(np.ones((size, size), bool))
    causal = not np.nan_to_num(weights[:, ~lower]).any()
    return {"causal": causal, "weights": packed_shares(weights[:, lower] if causal else weights)}


def png(weights: np.ndarray) -> str:
    """A matrix of weights in [0, 1] as a data URI, one pixel each."""
    pixels = rgba(weights)
    height, width_ = pixels.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_, height, 8, 6, 0, 0, 0)
    file = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, 9))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(file).decode()
