"""Files of JSON lines, read; `_disk.LineWriter` writes them."""

from pathlib import Path
from typing import Any

from .._disk import BadRecords as BadRecords
from .._disk import parsed
from .._read import open_regular

MAX_LINE = 2**24
"""Bytes of a record."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, without a last line that was torn."""
    records = []
    with open_regular(path, BadRecords) as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise BadRecords(f"{path}, line {number} has more than {MAX_LINE:,} bytes: it is no record.")
            if not line.strip(b"\n"):
                continue
            found = parsed(line)
            if found is None and not line.endswith(b"\n"):
                break  # a run was killed while it wrote this one
            if found is None:
                raise BadRecords(
                    f"{path}, line {number} is no record (one JSON object to a line): "
                    f"{line[:60].rstrip().decode(errors='replace')!r}."
                )
            records.append(found)
    return records
