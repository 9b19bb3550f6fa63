"""The shape of a msgpack file, walked before anything is made of it: few containers, all within the file."""

from ._errors import BadCheckpoint

MAX_ITEMS = 2**17
MAX_DEPTH = 64
# By the first byte: the bytes of the length that follows, and what a length counts.
_SIZED = {
    0xC4: (1, "bytes"),
    0xC5: (2, "bytes"),
    0xC6: (4, "bytes"),
    0xD9: (1, "bytes"),
    0xDA: (2, "bytes"),
    0xDB: (4, "bytes"),
    0xC7: (1, "ext"),
    0xC8: (2, "ext"),
    0xC9: (4, "ext"),
    0xDC: (2, "list"),
    0xDD: (4, "list"),
    0xDE: (2, "map"),
    0xDF: (4, "map"),
}
_PLAIN = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
}


def check_msgpack(data: memoryview) -> None:
    """Raises `BadCheckpoint` for what is cut, holds more than 131,072 items or nests deeply."""
    at, items, open_ = 0, 0, [1]  # how many values each open container still lacks
    while open_:
        if open_[-1] == 0:
            open_.pop()
            continue
        open_[-1] -= 1
        items += 1
        if items > MAX_ITEMS or len(open_) > MAX_DEPTH:
            raise BadCheckpoint(
                f"it holds more than {MAX_ITEMS:,} items, or containers deeper than {MAX_DEPTH} in each other"
            )
        at, inside = _next(data, at)
        if inside:
            open_.append(inside)


def _next(data: memoryview, at: int) -> tuple[int, int]:
    """Where the next value begins, and how many values this one holds."""
    if at >= len(data):
        raise BadCheckpoint("it ends within a value")
    first, at, inside, skip = data[at], at + 1, 0, 0
    if first in _SIZED:
        width, kind = _SIZED[first]
        count = int.from_bytes(data[at : at + width], "big")
        at += width
        skip = count + (kind == "ext") if kind in ("bytes", "ext") else 0
        inside = {"list": count, "map": 2 * count}.get(kind, 0)
    elif 0x80 <= first < 0x90:
        inside = 2 * (first & 15)
    elif 0x90 <= first < 0xA0:
        inside = first & 15
    elif 0xA0 <= first < 0xC0:
        skip = first & 31
    elif first in _PLAIN:
        skip = _PLAIN[first]
    elif first == 0xC1:
        raise BadCheckpoint("it has a byte that msgpack does not know")
    if at + skip + inside > len(data):
        raise BadCheckpoint("it promises more than its bytes")
    return at + skip, inside
