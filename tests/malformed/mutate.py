"""Changes that make a valid file malformed, drawn by a seed: of values, of tensors, of bytes."""

import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from .valid import Kind


def _deep(levels: int) -> Any:
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


VALUES: tuple[Any, ...] = (
    None,
    -1,
    0,
    1e30,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    {},
    _deep(90),
    2**40,
    -(10**30),
    2.5,
    True,
    [1],
    {"a": 1},
    "\ud800",
)
DELETED = object()


@dataclasses.dataclass(frozen=True)
class Case:
    """One malformed folder: of the `kind`, with `files` in place of its own; `what` was changed."""

    kind: Kind
    files: dict[str, Any]
    what: str
    words: tuple[str, ...]
    "Of which an error names one."


def cases(kinds: list[Kind], seed: int, count: int) -> list[Case]:
    """So many cases: as many of each kind as there are, drawn from all, in a random order."""
    rng = np.random.default_rng(seed)
    each = [[found[i] for i in rng.permutation(len(found))] for found in map(list, map(_of, kinds))]
    order: list[Case] = []
    for turn in range(max(map(len, each))):
        order += [found[turn] for found in each if turn < len(found)]
    return order[:count]


def _of(kind: Kind) -> Iterator[Case]:
    rng = np.random.default_rng(len(kind.name))
    for name, value in kind.files.items():
        if isinstance(value, bytes):
            for what, data in _bytes(value, rng):
                yield Case(kind, {name: data}, f"{kind.name}: {name} {what}", (name, kind.name))
            if name.endswith(".toml"):
                for what, data in _toml(value):
                    yield Case(kind, {name: data}, f"{kind.name}: {name} {what}", (name, what))
            continue
        for path, other in _changed(value, rng):
            said = ".".join(map(str, path)) or "all of it"
            what = f"{kind.name}: {name}, {said} = {_short(other)}"
            words = (name, *map(str, path), name.split("/")[-1])
            yield Case(kind, {name: _with(value, path, other)}, what, words)
        if name.endswith((".json", "metadata", ".jsonl")):
            text = json.dumps(value).encode()
            for what, data in _bytes(text, rng):
                yield Case(kind, {name: data}, f"{kind.name}: {name} {what}", (name, kind.name))
            yield Case(kind, {name: b"[" * 100_000}, f"{kind.name}: {name} deep", (name,))


def _changed(value: Any, rng: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each entry of a tree left out, and replaced; a few of the many for each."""
    for path in _paths(value):
        held = value
        for part in path:
            held = held[part]
        if path:
            yield path, DELETED
        if isinstance(held, np.ndarray):
            options = _arrays(held)
        else:
            options = [VALUES[i] for i in rng.choice(len(VALUES), 5, replace=False)]
        for other in options:
            if path or not isinstance(held, np.ndarray):
                yield path, other


def _paths(value: Any, before: tuple[Any, ...] = (), depth: int = 0) -> Iterator[tuple[Any, ...]]:
    yield before
    inner: Any = ()
    if isinstance(value, dict) and depth < 4:
        inner = list(value)[:24]
    elif isinstance(value, list) and depth < 4:
        inner = range(min(len(value), 2))
    for part in inner:
        yield from _paths(value[part], (*before, part), depth + 1)


def _arrays(array: np.ndarray) -> list[Any]:
    return [
        array[..., None],
        np.zeros((0, *array.shape[1:]), array.dtype),
        array.ravel()[: array.size // 2],
        array.astype(np.int64),
        array.astype(bool),
        np.float32(1.0).reshape(()),
        np.asarray(array, np.complex64),
    ]


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    found = copy.copy(value)
    if other is DELETED and len(path) == 1:
        del found[path[0]]
    else:
        found[path[0]] = _with(value[path[0]], path[1:], other)
    return found


def _bytes(data: bytes, rng: Any) -> Iterator[tuple[str, bytes]]:
    yield "emptied", b""
    for part in (0.1, 0.5, 0.95):
        yield f"cut at {part}", data[: int(len(data) * part)]
    for i in range(6):
        changed = bytearray(data)
        for at in rng.integers(min(len(data), 400 if i % 2 else len(data)), size=1 + i):
            changed[at] = rng.integers(256)
        yield f"flipped {i}", bytes(changed)
    yield "a picture", b"\x89PNG\r\n\x1a\n" + data[8:]
    yield "zeros", bytes(len(data))
    yield "a torch file", b"PK\x03\x04" + data[4:]


def _toml(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Values of single lines replaced; a line that opens a list is left out."""
    lines = data.decode().split("\n")
    for i, line in enumerate(lines):
        key, sign, value = line.partition(" = ")
        if sign and not line.startswith("#") and not value.rstrip().endswith("["):
            for other in ("0", "-1", "nan", '""', "[]", "{}", "[[1]]", "1979-05-27", '"a b c"'):
                said = key.strip().strip('"')
                yield said, "\n".join([*lines[:i], f"{key} = {other}", *lines[i + 1 :]]).encode()


def _short(value: Any) -> str:
    return "left out" if value is DELETED else " ".join(repr(value).split())[:40]
