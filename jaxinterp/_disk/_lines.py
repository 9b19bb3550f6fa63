"""Files of JSON lines that outlive a killed run: whole records, and one writer at a time."""

import contextlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from .._read import parse_json
from ._whole import sync_folder

_OTHERS = (".html", ".htm", ".png", ".pdf", ".svg", ".jpg", ".csv", ".npy", ".parquet")
_BEGINS = re.compile(rb'\{[ \t]*("|$)')
_LONGEST = 1 << 20  # of a first line that is looked at


class BadRecords(ValueError):
    """The error for a file that holds no records, or the records of another study.

    ```python
    try:
        ji.probes.study(model, corpus, key=jax.random.key(1), out="study.jsonl")  # begun with another key
    except ji.probes.BadRecords as error:
        print(error)
    ```
    """


class LineWriter:
    """Appends records to a file that only it writes: `with LineWriter(path) as file: file.append(records)`.

    What a run that was killed left in the middle of a record is cut off when the file is opened. Each
    `append` is one write, on disk when it returns; one that fails, as on a full disk, leaves no part
    of itself. A file that holds something else is refused and stays as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"There is no folder {str(self.path.parent)!r} to write {self.path.name!r} into. Create it first."
            )
        if self.path.is_dir():
            raise BadRecords(f"{self.path} is a folder; records go to a file: results.jsonl.")
        if self.path.suffix.lower() in _OTHERS:
            raise BadRecords(
                f"Records are JSON lines, and {self.path.name!r} is the name of something else. Write them to {str(self.path.with_suffix('.jsonl'))!r}."
            )
        if self.path.exists() and not self.path.is_file():
            raise BadRecords(f"{self.path} is no file of records. Give another name: results.jsonl.")

    def __enter__(self) -> "LineWriter":
        new = not self.path.exists()
        self._file = open(self.path, "ab+", buffering=0)
        try:
            _lock(self._file, self.path)
            if new:
                sync_folder(self.path.parent)
            self._end = self._file.seek(0, os.SEEK_END)
            whole, torn = _whole(self._file)
            if not _is_records(self._file, whole, torn):
                raise BadRecords(
                    f"{self.path} holds something else than records (one JSON object to a line), and "
                    "stays as it is. Give another file: results.jsonl."
                )
            if torn and parsed(torn) is not None:  # complete but for the line break
                self._put(b"\n")
            elif torn:
                self._file.truncate(whole)
            self._end = self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._file.close()
            raise
        return self

    @staticmethod
    def line(record: Any) -> str:
        """A record as a line of JSON; other writers check theirs."""
        return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"

    def append(self, records: Iterable[Any]) -> None:
        """Writes records behind those that are there."""
        text = "".join(map(self.line, records)).encode("utf-8", "replace")
        if self._file.seek(0, os.SEEK_END) != self._end:  # what a failed write left could not be cut
            self._file.truncate(self._end)
        self._put(text)
        self._end += len(text)

    def _put(self, text: bytes) -> None:
        try:
            done = 0
            while done < len(text):
                done += self._file.write(text[done:]) or 0
            os.fsync(self._file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):  # then the next append tries again
                self._file.truncate(self._end)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None."""
    try:
        found = parse_json(line, "A record")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _whole(file: Any) -> tuple[int, bytes]:
    """Where the last line break ends, and what follows it."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start and b"\n" not in tail:
        size = max(1 << 16, len(tail))  # twice as much each time: a line may be long
        start = max(0, start - size)
        file.seek(start)
        tail = file.read(end - start)
    cut = start + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
    return cut, tail[cut - start :]


def _is_records(file: Any, whole: int, torn: bytes) -> bool:
    """Whether the first line is a record, and what was torn begins like one."""
    if torn and not _BEGINS.match(torn):
        return False
    if not whole:
        return True
    file.seek(0)
    first = file.read(min(whole, _LONGEST)).split(b"\n")
    if len(first) == 1:  # longer than is looked at
        return _BEGINS.match(first[0]) is not None
    found = next((line for line in first if line), None)
    return found is None or parsed(found) is not None


def _lock(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadRecords(f"Another process is writing {path}; wait for it, or give another file.") from error
    except OSError:
        return  # a file system without locks
