"""A line for one long step: after two seconds it says on stderr what is waited for, and counts the seconds.

The line goes away when the step is done. Where a bar of tqdm is drawn already, of this library or of the caller, no line is
added to it. `TQDM_DISABLE=1` in the environment silences both.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

from ._arguments import concrete
from .mesh._gather import on_mesh

Args = ParamSpec("Args")
R = TypeVar("R")
T = TypeVar("T")

DELAY = 2.0
"Seconds before a line or a bar shows itself."
TICK, SLOW_TICK = 1.0, 30.0
"Seconds between two drawings of what does not move: on a terminal, and in a file."


@contextlib.contextmanager
def waiting(name: str, progress: bool = True) -> Iterator[None]:
    """Names what is waited for, after two seconds. A step that is over by then costs one thread, and prints nothing."""
    if not progress:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_say, args=(name, done, time.time()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def announced(program: Callable[Args, R]) -> Callable[Args, R]:
    """`on_mesh`, where a call of more than two seconds is named on stderr: most of it is the compilation."""
    called, name = on_mesh(program), program.__name__.strip("_")

    @functools.wraps(program)
    def call(*args: Args.args, **kwargs: Args.kwargs) -> R:
        with waiting(f"ji.{name}: compiling and running", not _within_jit((args, kwargs))):
            return called(*args, **kwargs)

    return call


def _within_jit(tree: Any) -> bool:
    """Whether a call is a part of a larger program, which has its own line or none; `vmap` and `grad` alone are not."""
    return any(type(leaf).__name__ == "DynamicJaxprTracer" for leaf in jax.tree.leaves(tree))


def hidden(progress: bool) -> dict[str, Any]:
    """Options of tqdm for a bar that is hidden; of one that is not, `TQDM_DISABLE` decides."""
    return {} if progress else {"disable": True}


def finished(values: T) -> T:
    """The same values when they are computed: JAX returns them before. Traced ones are returned as they are."""
    leaves = [leaf for leaf in jax.tree.leaves(values) if isinstance(leaf, jax.Array)]
    if all(map(concrete, leaves)):
        jax.block_until_ready(leaves)
    return values


def pause(file: Any) -> float:
    """Seconds between two drawings in a file or on a terminal."""
    terminal = getattr(file, "isatty", None)
    return TICK if callable(terminal) and terminal() else SLOW_TICK


def _say(name: str, done: threading.Event, began: float) -> None:
    if done.wait(DELAY):
        return
    from tqdm.auto import tqdm

    if len(getattr(tqdm, "_instances", ())):
        return
    with tqdm(total=1, desc=name, bar_format="{desc} ({elapsed})", leave=False) as line:
        line.start_t = began
        while not done.wait(pause(line.fp) if hasattr(line, "fp") else TICK):
            line.refresh()
