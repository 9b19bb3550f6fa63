"""Files of JSON lines, read; `_disk.Writer` writes them."""

from pathlib import Path
from typing import Any

from .._disk import BadRecords as BadRecords
from .._disk import parsed


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file, without a last line that was torn."""
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines):
        if not line:
            continue
        found = parsed(line)
        if found is None:
            if number == len(lines) - 1:
                break  # a run was killed while it wrote this one
            raise BadRecords(
                f"{path}, line {number + 1} is no record (one JSON object to a line): "
                f"{line[:60].decode(errors='replace')!r}."
            )
        records.append(found)
    return records
