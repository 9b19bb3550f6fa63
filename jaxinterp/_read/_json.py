"""JSON with limits: of bytes, of values and of depth; a key once, and no NaN unless that is asked for."""

import json
from pathlib import Path
from typing import Any

from ._file import read_bytes

MAX_BYTES = 2**24
"""The most bytes of a JSON file. A vocabulary of 250,000 tokens has 6 MB."""
MAX_VALUES = 2**19
"""Numbers, texts and containers of one JSON text: a Python object each, of about 100 bytes."""
MAX_DEPTH = 64


class _Twice(ValueError):
    """A key that stands twice in one object: readers differ in which value they take."""


def read_json(
    path: str | Path,
    *,
    error: type[ValueError] = ValueError,
    hint: str = "the file is truncated or corrupt.",
    max_bytes: int = MAX_BYTES,
    constants: bool = False,
) -> Any:
    """What a JSON file holds; see `parse_json`. With larger `max_bytes` more values are read too."""
    data = read_bytes(path, max_bytes=max_bytes, error=error)
    most = max(MAX_VALUES, max_bytes // 32)
    return parse_json(data, path, error=error, hint=hint, constants=constants, max_values=most)


def parse_json(
    data: bytes | str,
    where: Any,
    *,
    error: type[ValueError] = ValueError,
    hint: str = "the file is truncated or corrupt.",
    constants: bool = False,
    max_values: int = MAX_VALUES,
) -> Any:
    """The value of a JSON text, of at most `max_values` values and 64 containers in each other.

    `constants`: whether NaN and infinities are floats, as Python's own writer spells them; otherwise
    they are refused, as JSON has none.

    **Raises:** `error`, which names `where` and what is wrong, and ends with `hint`.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    count = sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    if count > max_values:
        raise error(
            f"{where} holds about {count:,} values, and at most {max_values:,} are read of a JSON text; {hint}"
        )
    options: dict[str, Any] = {} if constants else {"parse_constant": _refused}
    try:
        found = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object, **options)
    except RecursionError:
        raise error(f"{where} nests containers deeper than {MAX_DEPTH}; {hint}") from None
    except ValueError as wrong:
        raise error(f"{where} is not JSON ({str(wrong)[:200]}); {hint}") from None
    level, depth = [found], 0
    while level := [inner for each in level for inner in _containers(each)]:
        depth += 1
        if depth >= MAX_DEPTH:
            raise error(f"{where} nests containers deeper than {MAX_DEPTH}; {hint}")
    return found


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inner if isinstance(each, dict | list)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise _Twice(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
