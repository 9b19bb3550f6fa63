"""A whole file: written beside its place, made durable, and moved there by one rename."""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ._owner import clean, discard, temporary


class Partial:
    """An empty file under a temporary name, that takes its own name when it is whole.

    Its mode follows from the umask, also where a writer of another library fills it.
    """

    def __init__(self, folder: Path) -> None:
        clean(folder)
        self.path: Path | None = folder / temporary()
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        self._mode = stat.S_IMODE(self.path.stat().st_mode)

    def reserve(self) -> None:
        """Takes the room that the size of the file promises: a map of a file that has none ends the process."""
        assert self.path is not None
        if not hasattr(os, "posix_fallocate"):  # not on this system
            return
        handle = os.open(self.path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, os.fstat(handle).st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not on this file system
                raise
        finally:
            os.close(handle)

    def finish(self, path: Path) -> None:
        """Makes it durable, then moves it to its place."""
        assert self.path is not None
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, and a file is written. Give a file's name.")
        if stat.S_IMODE(self.path.stat().st_mode) != self._mode:
            self.path.chmod(self._mode)
        sync_file(self.path)
        os.replace(self.path, path)
        self.path = None
        sync_folder(path.parent)

    def discard(self) -> None:
        """Removes it, unless it is finished."""
        if self.path is not None:
            discard(self.path)
            self.path = None


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Libraries in C say in words of their own that a disk is full; here it is the system's `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A temporary path to write; at the end of the block it is `path`, or gone if that failed."""
    partial = Partial(path.parent)
    assert partial.path is not None
    try:
        with system_errors(path):
            yield partial.path
        partial.finish(path)
    finally:
        partial.discard()


def write_whole(path: Path, content: bytes | Callable[[Any], object]) -> None:
    """Bytes, or what `content(file)` writes: a reader sees the old file, or all of the new one."""
    with beside(path) as partial, open(partial, "wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)


def write_json(path: Path, value: Any) -> None:
    """JSON of one indent, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def put(path: Path, content: bytes) -> None:
    """A file of a folder that nobody sees yet: `unit` makes it durable with the others."""
    with open(path, "wb") as file:
        file.write(content)


def move(path: Path, target: Path) -> None:
    """Renames within a folder that nobody sees yet."""
    os.replace(path, target)


def sync_file(path: Path) -> None:
    """Makes the content of a file survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
