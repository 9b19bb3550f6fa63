"""What one rendering of a chat template may do: a count of its steps and characters, which ends.

Everything that can make something long of something short takes its length from the count first.
"""

import contextlib
import contextvars
import json
import re
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from jinja2.sandbox import SecurityError

MOST_WORK = 2_000_000
"""Characters that one rendering makes, and its steps in characters; and `FOR_EACH` more for each that it is given."""
FOR_EACH = 50
MOST_SIZE = 10_000_000
STEP = 50
"""What a round of a loop or a call counts, in characters."""
MOST_SECONDS = 10.0
"""The most seconds of one rendering; a usual one takes a thousandth of a second."""
_WIDE = re.compile(r"\*|\d{4}|\{[^{}]*\{")
"""Widths of formats that are long, or that are given by a value."""


class Allowance:
    """What one rendering may still do; `charge` takes from it, and raises `SecurityError` at its end."""

    def __init__(self, given: int) -> None:
        self.most = self.left = MOST_WORK + FOR_EACH * given
        self.end = time.monotonic() + MOST_SECONDS

    def charge(self, work: int) -> None:
        self.left -= work
        if self.left < 0 or time.monotonic() > self.end:
            raise SecurityError(
                f"it makes more than {self.most:,} characters, {STEP} of them for each step, or runs for more than {MOST_SECONDS:g} s"
            )


_ALLOWANCE: contextvars.ContextVar[Allowance] = contextvars.ContextVar("allowance")


@contextlib.contextmanager
def allowance(given: Any) -> Iterator[None]:
    """What runs in the block has a new allowance, by the size of what it is given."""
    token = _ALLOWANCE.set(Allowance(size(given)))
    try:
        yield
    finally:
        _ALLOWANCE.reset(token)


def charge(work: int) -> None:
    _ALLOWANCE.get().charge(max(int(work), 1))


def size(value: Any, most: int = MOST_SIZE, depth: int = 0) -> int:
    """About how many characters a value has as text, those of its entries included; the count ends above `most`."""
    if isinstance(value, str):
        return len(value)
    if depth > 50:
        raise SecurityError("its values lie more than 50 deep in each other")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if not isinstance(value, list | tuple):
        return value.bit_length() // 3 + 1 if isinstance(value, int) else 1
    total = 0
    for entry in value:
        total += 2 + size(entry, most - total, depth + 1)
        if total > most:
            break  # the same list may stand in itself very often
    return total


def length(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else 1


def charged(value: Any) -> Any:
    """The value, once its length has been taken from the allowance."""
    charge(length(value))
    return value


def each(values: Iterable[Any]) -> Iterator[Any]:
    """The values one by one, each of them a step."""
    for value in values:
        charge(STEP)
        yield value


def written(value: Any) -> Any:
    """The value, once the length of its text has been taken from the allowance."""
    charge(size(value, _ALLOWANCE.get().left))
    return value


def together(parts: Iterable[Any]) -> str:
    """The texts in one."""
    return "".join(str(written(part)) for part in parts)


def replaced(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = written(str(text)), str(old), str(new)
    most = -1 if count is None else count
    places = text.count(old)
    charge((places if most < 0 else min(places, most)) * len(new))
    return text.replace(old, new, most)


def widened(text: Any, width: Any) -> Any:
    """The width, once it has been taken from the allowance for each line of the text."""
    charge((len(width) if isinstance(width, str) else width) * (1 + len(str(text).splitlines())))
    return width


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes what HTML does."""
    wide = 0 if indent is None else len(indent) if isinstance(indent, str) else indent
    charge(size(value) * (1 + wide))
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def formatted(text: str, values: Any) -> None:
    """Takes a format and its values from the allowance."""
    if _WIDE.search(text):
        raise SecurityError("its formats are wider than 999")
    fields = text.count("%") + text.count("{")
    charge(len(text) + fields * (1000 + size(values)))
