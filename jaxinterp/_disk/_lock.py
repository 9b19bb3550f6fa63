"""A place that one process writes at a time, and who that is."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ._owner import LOCK, discard

_PATIENCE = 20.0  # seconds for another's renames, which take milliseconds


class Busy(ValueError):
    """Another process writes what only one can write."""


@contextlib.contextmanager
def sole(place: Path, doing: str) -> Iterator[None]:
    """Holds the lock of a folder, or of a file, for as long as the block runs.

    It is a file with its owner in it; the system releases what a killed process held. Raises `Busy`
    where another holds it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    path = place / LOCK if place.is_dir() else place.with_name(f"{LOCK}-{place.name}")
    handle = _locked(path, doing)
    try:
        yield
    finally:
        if handle is not None:
            try:
                discard(path)
            finally:
                os.close(handle)


def _locked(path: Path, doing: str) -> int | None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is(handle, path):  # its last owner removed it meanwhile
                os.close(handle)
                continue
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(owner).encode())
            return handle
        except BlockingIOError:
            owner = _owner(handle)
            os.close(handle)
            raise Busy(f"Another process{owner} {doing}; wait for it, or give another name.") from None
        except OSError:  # a file system without locks, or without room for a name in the file
            return handle
        except BaseException:
            os.close(handle)
            raise


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _owner(handle: int) -> str:
    try:
        found = json.loads(os.pread(handle, 1000, 0))
        return f" ({int(found['pid'])} on {str(found['host'])[:80]!r})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """For a moment of renames in a folder, with nobody else in one; waits for its turn."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # no locks, or folders cannot be opened, on this system
        yield
        return
    try:
        _wait(lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB), folder)
        yield
    finally:
        os.close(handle)


def _wait(lock, folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return lock()
        except BlockingIOError:
            if time.monotonic() > until:
                raise Busy(
                    f"Another process has been writing {folder} for {_PATIENCE:.0f} s. Try again when it is done."
                ) from None
            time.sleep(0.005)
        except OSError:
            return None  # a file system without locks
