"""Rows of tables on disk as dicts: JSON lines, CSV, and Parquet where it can be read."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._read import MAX_VALUES, parse_json, regular
from ._document import Document
from ._rows import missing
from ._sources import DAMAGED, MAX_BYTES, damaged, kind, lines, opened

_LONGEST = 2**31 - 1


def table(path: Path, text: str, max_bytes: int = MAX_BYTES) -> Iterator[Document]:
    """A document of each row that has a text, labelled by its own `label` or else by the file's name."""
    of_file = path.name.split(".")[0]
    for number, (place, row) in enumerate(_ROWS[kind(path)](path, max_bytes)):
        if not isinstance(row, Mapping) or text not in row:
            raise ValueError(f"{path}, {place}: {_lacks(row, text)}")
        found, label, group = row[text], row.get("label"), row.get("group")
        if missing(found) or found == "":
            continue
        if not isinstance(found, str):
            raise ValueError(
                f"{path}, {place}: {text!r} holds {type(found).__name__}, not a text. Name another field: text='content'."
            )
        if found.strip():
            yield Document(
                found,
                of_file if _empty(label) else str(label).strip(),
                f"{path.name}:{number}" if _empty(group) else str(group),
            )


def _lacks(row: Any, text: str) -> str:
    if not isinstance(row, Mapping):
        return f'a line is {{"{text}": "...", "label": "..."}}; got {str(row)[:60]}.'
    return f'a line is {{"{text}": "...", "label": "..."}}; got {sorted(map(str, row))[:12]}. Name another field: text={next(iter(row), "content")!r}.'


def _empty(value: Any) -> bool:
    """No value: None, NaN, and the empty cell of a CSV."""
    return missing(value) or (isinstance(value, str) and not value.strip())


def _json_lines(path: Path, max_bytes: int) -> Iterator[tuple[str, Any]]:
    try:
        with opened(path) as file:
            for number, line in enumerate(lines(path, file, max_bytes), 1):
                if line.strip():
                    most = max(MAX_VALUES, max_bytes // 32)
                    yield (
                        f"line {number}",
                        parse_json(
                            line,
                            f"{path}, line {number}",
                            constants=True,
                            hint="one JSON object stands on each line.",
                            max_values=most,
                        ),
                    )
    except DAMAGED as error:
        raise damaged(path, error) from error


def _csv(path: Path, max_bytes: int) -> Iterator[tuple[str, Any]]:
    """The first row names the columns, without the blanks beside them. Texts may be longer than the 131,072 characters of the csv module."""
    try:
        with opened(path, newline="") as file:
            rows = csv.DictReader(
                lines(path, file, max_bytes),
                delimiter="\t" if kind(path) == ".tsv" else ",",
                strict=True,
            )
            names = [name.strip() for name in rows.fieldnames or ()]
            if twice := {name for name in names if name and names.count(name) > 1}:
                raise ValueError(f"{path}: each column has its own name; there are several {sorted(twice)}.")
            rows.fieldnames = names
            while True:
                limit = csv.field_size_limit(
                    min(max_bytes, _LONGEST)
                )  # of the whole process, so it is put back
                try:
                    row = next(rows, None)
                finally:
                    csv.field_size_limit(limit)
                if row is None:
                    return
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path}, line {rows.line_num}: a row has a cell for each of the {len(rows.fieldnames or ())} columns. Texts with commas stand in quotes."
                    )
                yield f"line {rows.line_num}", row
    except csv.Error as error:
        raise ValueError(
            f"{path} is no CSV ({error}). Read it your way: ji.data.documents(csv.DictReader(file))."
        ) from error
    except DAMAGED as error:
        raise damaged(path, error) from error


def _parquet(path: Path, max_bytes: int) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(
            f"{path} is Parquet, which pyarrow reads: pip install datasets, which brings it. Or give the "
            "rows of any reader: ji.data.documents(rows, text='text', label='label')."
        ) from error
    regular(path)
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    yield f"row {number}", row
                    number += 1
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no Parquet, or it is damaged ({error}).") from error


_ROWS = {".jsonl": _json_lines, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
