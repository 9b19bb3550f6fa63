"""Files of JSON lines that outlive a killed run: whole records, and one writer at a time."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from .._read import open_regular, parse_json
from ._files import sync_folder

MAX_LINE = 2**24
"""Bytes of a record."""
_OTHERS = (".html", ".htm", ".png", ".pdf", ".svg", ".jpg", ".csv", ".npy", ".parquet")


class BadRecords(ValueError):
    """A file that holds no records, or those of another study."""


class Writer:
    """Appends records to a file that only it writes: `with Writer(path) as file: file.append(records)`.

    What a run that was killed left in the middle of a line is cut off when the file is opened. Each
    `append` is one write, on disk when it returns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {str(self.path.parent)!r} to write {self.path.name!r} into. Create it first.")  # fmt: skip
        if self.path.is_dir():
            raise BadRecords(f"{self.path} is a folder; records go to a file: results.jsonl.")
        if self.path.suffix.lower() in _OTHERS:
            raise BadRecords(f"Records are JSON lines, and {self.path.name!r} is the name of something else. Write them to {str(self.path.with_suffix('.jsonl'))!r}.")  # fmt: skip

    def __enter__(self) -> "Writer":
        new = not self.path.exists()
        self._file = open(self.path, "ab+", buffering=0)
        try:
            _lock(self._file, self.path)
            if new:
                sync_folder(self.path.parent)
            whole, torn = _whole(self._file)
            if torn is None:
                self._file.truncate(whole)
            elif torn:  # complete but for the line break
                self._file.write(b"\n")
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
        done = 0
        while done < len(text):
            done += self._file.write(text[done:]) or 0
        os.fsync(self._file.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, without a last line that was torn."""
    records = []
    with open_regular(path, BadRecords) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise BadRecords(f"{path}, line {number} has more than {MAX_LINE:,} bytes: it is no record.")  # fmt: skip
            if not line.strip(b"\n"):
                continue
            found = _parsed(line)
            if found is None and not line.endswith(b"\n"):
                break  # a run was killed while it wrote this one
            if found is None:
                raise BadRecords(
                    f"{path}, line {number} is no record (one JSON object to a line): "
                    f"{line[:60].rstrip().decode(errors='replace')!r}."
                )
            records.append(found)
    return records


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = parse_json(line, "A record")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _whole(file: Any) -> tuple[int, bytes | None]:
    """Where the last line break ends, and what follows it: nothing, a whole record, or None if torn."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start and b"\n" not in tail:
        start = max(0, start - (1 << 16))
        file.seek(start)
        tail = file.read(end - start)
    cut = start + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
    rest = tail[cut - start :]
    return cut, rest if not rest or _parsed(rest) is not None else None


def _lock(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadRecords(
            f"Another process is writing {path}; wait for it, or give another file."
        ) from error
    except OSError:
        return  # a file system without locks
