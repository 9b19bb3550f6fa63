"""Bytes of a file: of a regular one alone, and no more than a limit.

A pipe or a device may never end, so that none is read, wherever a folder holds one in place of a file.
"""

import os
import stat
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> int:
    """The size of a regular file, for readers that take its name.

    **Raises:** FileNotFoundError where nothing is; `error` for a pipe, a device or a folder.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"There is no file {path}.") from None
    except ValueError as wrong:  # a name with a NUL in it
        raise error(f"{str(path)!r} is no name of a file ({wrong}).") from None
    return _checked(path, found, error)


def open_regular(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> BinaryIO:
    """A regular file, open for reading; what is opened is what was checked."""
    regular(path, error)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _checked(path, os.fstat(handle), error)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(
    path: str | os.PathLike[str],
    *,
    max_bytes: int,
    error: type[ValueError] = ValueError,
    advice: str = "It is no such file, or it is corrupt.",
) -> bytes:
    """All of a file of at most `max_bytes`; `advice` ends the sentence about a larger one."""
    with open_regular(path, error) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > max_bytes else file.read(max_bytes + 1)
    if size > max_bytes or len(data) > max_bytes:
        raise error(
            f"{path} has {max(size, len(data)):,} bytes, and at most {max_bytes:,} are read of a file "
            f"of its kind. {advice}"
        )
    return data


def read_text(
    path: str | os.PathLike[str],
    *,
    max_bytes: int,
    error: type[ValueError] = ValueError,
    advice: str = "It is no such file, or it is corrupt.",
) -> str:
    """As `read_bytes`, decoded from UTF-8; a byte-order mark is left out."""
    data = read_bytes(path, max_bytes=max_bytes, error=error, advice=advice)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(f"{path} is no UTF-8 text ({wrong}).") from None


def _checked(path: str | os.PathLike[str], found: os.stat_result, error: type[ValueError]) -> int:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise error(f"{path} is {kind}, and only regular files are read. Nothing was read of it.")
    return found.st_size
