"""Zip archives whose directory is small, and whose stored entries lie in the file."""

import struct
import zipfile
from pathlib import Path

from ._file import open_regular

MAX_DIRECTORY = 2**23
"""Bytes of the list of entries, which is read whole: about 80,000 entries."""


def open_zip(path: Path, error: type[ValueError] = ValueError) -> zipfile.ZipFile:
    """An archive, open for reading, none of whose entries claims more bytes than the file has.

    Raises `error`, and what `zipfile` raises for damaged archives.
    """
    with open_regular(path, error) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16 - 100))
        directory = _directory(file.read())
    if directory > MAX_DIRECTORY:
        raise error(
            f"{path}: its list of entries has {directory:,} bytes, and at most {MAX_DIRECTORY:,} are read. It is no such file, or it is corrupt."
        )
    archive = zipfile.ZipFile(path)
    for entry in archive.infolist():
        stored = entry.compress_type == zipfile.ZIP_STORED
        if entry.compress_size > size or (stored and entry.file_size > size):
            archive.close()
            raise error(
                f"{path} ({size:,} bytes): its entry {entry.filename[:80]!r} claims {max(entry.compress_size, entry.file_size):,}: the file is truncated or corrupt."
            )
    return archive


def _directory(tail: bytes) -> int:
    """The size of the list of entries by the record at the end, the larger where there are two."""
    last = tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0"
    at = len(tail) - 22 if last else tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return 0
    (found,) = struct.unpack_from("<I", tail, at + 12)
    found = 0 if found == 2**32 - 1 else found
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\6\7" and tail[at - 76 : at - 72] == b"PK\6\6":
        found = max(found, *struct.unpack_from("<Q", tail, at - 36))
    return found
