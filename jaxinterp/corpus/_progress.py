"""What takes long says so: a bar for steps that are counted; `_waiting` has the line for one long step.

A bar stays silent for two seconds. Then it shows the time that has passed, second by second, and says
"compiling" until the first program runs.
"""

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

from .. import _waiting
from .._waiting import waiting as waiting

T = TypeVar("T")

STILL = 5  # drawings in a row of a bar whose caller is gone, after which it is not drawn any more


def watched(items: Iterable[T], total: int, name: str, progress: bool, *, unit: str = "batch") -> Iterator[T]:
    """The same items, with a bar on stderr once two seconds have passed."""
    caller = sys._getframe(1)
    with progress_bar(total, name, unit=unit, progress=progress, caller=caller) as bar:
        del caller
        for item in items:
            yield item
            advance(bar)


@contextlib.contextmanager
def progress_bar(
    total: int, name: str, *, unit: str, progress: bool, initial: int = 0, caller: FrameType | None = None
) -> Iterator[Any]:
    """A bar of tqdm; `advance` moves it on.

    A bar within a generator names its `caller`, `sys._getframe(1)`: where the caller raises, the generator may
    stay open as long as the exception is kept, and the bar must be still then.
    """
    from tqdm.auto import tqdm

    with (
        tqdm(
            total=total,
            initial=initial,
            desc=name,
            unit=unit,
            delay=_waiting.DELAY,
            **_waiting.hidden(progress),
        ) as bar,
        _ticking(bar, initial, "compiling", caller),
    ):
        yield bar


def advance(bar: Any, steps: int = 1) -> None:
    """Moves a bar of `progress_bar` on by finished steps."""
    running(bar)
    bar.update(steps)


def running(bar: Any) -> None:
    """Says that a bar of `progress_bar` waits for a program that runs, and for no compiler any more."""
    if not bar.disable and bar.n == bar.initial:
        bar.compiled = True
        bar.set_postfix_str("", refresh=False)


@contextlib.contextmanager
def _ticking(bar: Any, initial: int, first: str, caller: FrameType | None = None) -> Iterator[None]:
    """Draws a bar again and again: by itself tqdm draws a bar only when it moves, and the first step compiles."""
    if bar.disable:
        yield
        return
    bar.compiled = False
    done = threading.Event()
    where = None if caller is None else (threading.get_ident(), caller)
    thread = threading.Thread(target=_tick, args=(bar, initial, first, done, where), daemon=True)
    thread.start()
    del where, caller
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tick(
    bar: Any, initial: int, first: str, done: threading.Event, where: tuple[int, FrameType] | None
) -> None:
    pause = _waiting.pause(bar.fp)
    wait = _waiting.DELAY
    still = 0
    while not done.wait(wait):
        wait = pause
        if where is not None and not _runs(*where):
            still += 1
            if still == STILL:
                return
            continue
        if first and bar.n == initial and not bar.compiled:
            bar.set_postfix_str(first)
        else:
            bar.refresh()
        bar.last_print_t = max(bar.last_print_t, bar.start_t + bar.delay)  # so that tqdm ends the line
        still = 0


def _runs(thread: int, frame: FrameType) -> bool:
    """Whether a call is still under way in a thread."""
    at = sys._current_frames().get(thread)
    while at is not None and at is not frame:
        at = at.f_back
    return at is not None
