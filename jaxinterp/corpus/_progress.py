"""A progress bar for what takes long."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def watched(items: Iterable[T], total: int, name: str, progress: bool) -> Iterator[T]:
    """The same items, with a bar on stderr once two seconds have passed."""
    from tqdm.auto import tqdm

    return iter(tqdm(items, total=total, desc=name, unit="batch", delay=2.0, disable=not progress))
