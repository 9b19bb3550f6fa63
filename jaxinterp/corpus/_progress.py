"""A progress bar for what takes long. Until the first step is done it says that programs are compiled."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

DELAY = 2.0
"Seconds before a bar shows itself."


def watched(items: Iterable[T], total: int, name: str, progress: bool, *, unit: str = "batch") -> Iterator[T]:
    """The same items, with a bar on stderr once two seconds have passed."""
    with progress_bar(total, name, unit=unit, progress=progress) as bar:
        for item in items:
            yield item
            advance(bar)


@contextlib.contextmanager
def progress_bar(total: int, name: str, *, unit: str, progress: bool, initial: int = 0) -> Iterator[Any]:
    """A bar of tqdm; `advance` moves it on."""
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=initial, desc=name, unit=unit, delay=DELAY, disable=not progress) as bar:
        # A bar is drawn when it moves, and the first step compiles: without a timer nothing is seen until then.
        timer = threading.Timer(DELAY, _say_compiling, (bar, initial))
        timer.daemon = True
        if progress:
            timer.start()
        try:
            yield bar
        finally:
            timer.cancel()


def advance(bar: Any, steps: int = 1) -> None:
    """Moves a bar of `progress_bar` on by finished steps."""
    if not bar.disable and bar.n == bar.initial:
        bar.set_postfix_str("", refresh=False)
    bar.update(steps)


def _say_compiling(bar: Any, initial: int) -> None:
    if bar.n == initial and not bar.disable:
        bar.set_postfix_str("compiling")
