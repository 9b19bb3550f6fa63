"""Attention of many heads: small pictures to choose from, and the chosen one large."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from .._text import shorten, visible, width
from ..typing import ArrayLike
from . import mpl
from ._figure import Figure
from ._pattern import checked_pattern, rgba
from ._picture import Picture
from ._render import render

_CHAR, _LABEL = 6.7, 14


def attention(
    pattern: ArrayLike,
    tokens: Sequence[str],
    *,
    heads: Sequence[object] | None = None,
    selected: int | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draws `pattern` (head, query, key): one small picture per head, the chosen head large.

    **Arguments:**

    - `pattern`: attention weights between 0 and 1, e.g. `acts["pattern[1]"]` of one prompt.
    - `tokens`: the prompt, one string per position.
    - `heads`: names of the heads, numbers if left out.
    - `selected`: which head is large at first (an index into `pattern`), by default the one
        that attends most sharply. A click on a small picture changes it.

    **Returns:** a `Figure`; hovering the large picture shows query, key and weight.
    """
    pattern, names = checked_pattern(pattern, tokens, heads)
    shown = [visible(token) for token in tokens]
    if selected is None:
        selected = int(np.argmax((pattern**2).sum((1, 2))))
    if not 0 <= selected < len(pattern):
        raise IndexError(f"selected is the index of one of the {len(pattern)} heads given; got {selected}.")

    cell = float(np.clip(560 / len(tokens), 7, 26))
    every = max(1, int(np.ceil(11 / cell)))  # labels must not overlap: leave some out
    short = [shorten(token, _LABEL) if i % every == 0 else "" for i, token in enumerate(shown)]
    side = cell * len(tokens)
    margin = 12 + _CHAR * max(map(width, short))
    pictures = [png(head) for head in pattern]
    html = render(
        "attention.html",
        title=title,
        caption=caption,
        names=names,
        pictures=pictures,
        selected=selected,
        cell=cell,
        side=side,
        left=margin,
        above=10 + 0.71 * margin,
        width=margin + side + 0.71 * margin,
        short=short,
        data={
            "tokens": shown,
            "names": names,
            "cell": cell,
            "pattern": [[[_brief(w) for w in query] for query in head] for head in pattern.tolist()],
        },
    )
    inches = 1.2 + float(np.clip(0.16 * len(tokens), 1.6, 6.0))
    picture = Picture(
        mpl.attention, (pattern, tokens), {"heads": heads}, len(pattern), (inches, inches), True
    )
    return Figure(title or "Attention", html, picture=picture)


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


def _brief(weight: float) -> float | int | None:
    if not np.isfinite(weight):
        return None
    return int(weight) if weight in (0.0, 1.0) else round(weight, 3)
