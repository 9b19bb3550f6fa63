"""What can be wrong with a checkpoint, by name. All are `ValueError`s that say what to do."""

import difflib
from collections.abc import Iterable


class UnknownModel(ValueError):
    """A name that is neither a folder, nor a known model, nor a hub id."""


class UnhandledConfig(ValueError):
    """A checkpoint's config asks for something that the port does not do."""


class BadCheckpoint(ValueError):
    """A checkpoint file that is missing, truncated, corrupt, or holds other tensors than it must."""


class UnsafePickle(BadCheckpoint):
    """A pickle that asks for more than tensors in containers. Nothing of it was executed."""


def near(name: str, known: Iterable[str], count: int = 3) -> str:
    """`"; did you mean 'a' or 'b'?"`, or nothing when no known name is near."""
    found = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def listed(names: Iterable[str], limit: int = 6) -> str:
    """`'a', 'b' and 7 more`."""
    names = list(names)
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
