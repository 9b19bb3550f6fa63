"""Errors of readers that were given contents and not a file: they get the file's name."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """What is wrong with the contents of a file, with its name before it."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        kind = type(error) if type(error).__init__ is ValueError.__init__ else ValueError
        raise kind(f"{path}: {error}") from error
