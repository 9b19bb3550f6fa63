"""Ends a writer at the k-th thing that it does to a folder, and says how many things there are.

Python tells an audit hook of every file that is opened for writing and of every rename, link, unlink,
mkdir, rmdir and truncation before it happens. `killed` ends a forked child there, by `os._exit`: no
`finally` runs. `frozen` is for writers that compute with JAX, whose threads a forked child lacks: from
that event on nothing below the folder is changed any more, whatever `finally` tries. `full` is a disk
without room: what needs room fails, with the error of the system, and the writer may clean up.

Libraries in C tell nothing of their own files. They write where nobody looks yet.
"""

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATHS = {
    "os.rename": (0, 1),
    "os.link": (0, 1),
    "os.symlink": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
    "shutil.move": (0, 1),
}
ROOM = ("open", "os.mkdir", "os.link", "os.symlink")  # what a full disk refuses
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Killed(BaseException):
    """As sudden as a signal."""


class _Watch:
    """What the one hook of this process does; a hook cannot be taken away again."""

    folder = ""
    heard: Callable[[str], None] | None = None
    installed = False

    def hook(self, event: str, args: Any) -> None:
        if self.heard is None or (event != "open" and event not in PATHS):
            return
        if event == "open":
            if not (isinstance(args[2], int) and args[2] & _WRITES):
                return
            where = args[:1]
        else:
            where = [args[i] for i in PATHS[event]]
        if any(self._below(one) for one in where):
            self.heard(event)

    def _below(self, path: Any) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return False
        return isinstance(path, str | bytes | os.PathLike) and os.path.abspath(os.fsdecode(path)).startswith(
            self.folder
        )


_watch = _Watch()


def _heard(folder: Path, action: Callable[[], Any], heard: Callable[[str], None]) -> Any:
    if not _watch.installed:
        sys.addaudithook(_watch.hook)
        _watch.installed = True
    _watch.folder, _watch.heard = str(folder.absolute()), heard
    try:
        return action()
    finally:
        _watch.heard = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What happens here is nobody's."""
    heard, _watch.heard = _watch.heard, None
    try:
        yield
    finally:
        _watch.heard = heard


def events(folder: Path, action: Callable[[], Any]) -> int:
    """How many things an action does below a folder."""
    seen: list[str] = []
    _heard(folder, action, seen.append)
    return len(seen)


def killed(folder: Path, action: Callable[[], Any], k: int) -> None:
    """Runs an action in a forked child that ends before its k-th event."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of threads, and the child uses none
        child = os.fork()
    if child == 0:
        try:
            frozen_at = [k]

            def heard(event: str) -> None:
                frozen_at[0] -= 1
                if frozen_at[0] < 0:
                    os._exit(9)

            _heard(folder, action, heard)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, 9)


def frozen(folder: Path, action: Callable[[], Any], k: int) -> None:
    """Runs an action whose k-th event, and all that follow, do not happen."""
    left = [k]

    def heard(event: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    try:
        _heard(folder, action, heard)
    except BaseException:
        if left[0] >= 0:
            raise


def full(folder: Path, action: Callable[[], Any], k: int) -> OSError | None:
    """Runs an action on a disk that has room for k more files and folders; what it raised."""
    left = [k]

    def heard(event: str) -> None:
        left[0] -= event in ROOM
        if left[0] < 0 and event in ROOM:
            raise OSError(errno.ENOSPC, "No space left on device")

    try:
        _heard(folder, action, heard)
    except OSError as error:
        return error
    return None
