"""Results as tidy records: one flat dict per fit, one line of JSON each, that outlive a killed run."""

import importlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..data._files import sync_folder, write_whole

Record = dict[str, Any]
"""Names to numbers, texts, truth values, None or lists of these; `study` says which."""

COLUMNS = ("feature", "layer", "method", "k", "support", "f1", "mcc", "status")


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

    def append(self, records: Iterable[Record]) -> None:
        """Writes records behind those that are there."""
        text = "".join(map(_line, records)).encode()
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


def append_records(path: str | Path, records: Iterable[Record]) -> None:
    r"""$F \mapsto F \mathbin\Vert r_1 \dots r_n$: records behind those of a file, made if it is not there.

    **Raises:** ValueError for records that are not flat; `BadRecords` where another process is
    writing the file.

    ```python
    ji.probes.append_records("results.jsonl", [{"feature": "German", "layer": 3, "f1": 0.98}])
    ```

    Law: killed at any moment, the file holds whole records; the next call cuts off the torn line.
    """
    with Writer(path) as file:
        file.append(records)


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Writes a file of these records and no others, whole or not at all; `read_records` reads it."""
    text = "".join(map(_line, records)).encode()
    write_whole(Path(path), lambda file: file.write(text))


def read_records(path: str | Path) -> list[Record]:
    r"""$F \mapsto (r_1, \dots, r_n)$: the records of a file, without a last line that was torn.

    **Raises:** `BadRecords` for a file in which any other line is no record; FileNotFoundError.

    ```python
    records = ji.probes.read_records("results.jsonl")
    ```

    Law: what was appended, in order.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. A study writes one: ji.probes.study(..., out={str(path)!r})."
        )
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines):
        if not line:
            continue
        found = _parsed(line)
        if found is None:
            if number == len(lines) - 1:
                break  # a run was killed while it wrote this one
            raise BadRecords(
                f"{path}, line {number + 1} is no record (one JSON object to a line): "
                f"{line[:60].decode(errors='replace')!r}."
            )
        records.append(found)
    return records


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    r"""$\{r : r_a = v_a\ \forall a\}$; a list, tuple, set or range of values means any of them.

    ```python
    ji.probes.select(records, feature="German", layer=range(3, 6), method="adaptive", k=1)
    ```

    **Raises:** ValueError for a name that no record has, which says those there are.
    """
    records = list(records)
    _check_names(records, wanted)
    many = (list, tuple, set, frozenset, range, np.ndarray)
    return [
        r
        for r in records
        if all(
            r.get(name) in value if isinstance(value, many) else r.get(name) == value
            for name, value in wanted.items()
        )
    ]


def best(
    records: Iterable[Record], by: Sequence[str] | str = "feature", metric: str = "f1"
) -> list[Record]:
    r"""$\arg\max_{r \in G} m_r$ for each group G of records that agree in `by`; ties go to the first.

    The best of many on the test set looks better than it is: it was chosen there.

    ```python
    ji.probes.best(ji.probes.select(records, method="single"), by=("model", "feature"))
    ```
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    records = list(records)
    _check_names(records, (*names, metric))
    found: dict[tuple[Any, ...], Record] = {}
    for r in records:
        group = tuple(r.get(name) for name in names)
        value = r.get(metric)
        if value is not None and (group not in found or value > found[group][metric]):
            found[group] = r
    return list(found.values())


def records_table(
    records: Iterable[Record], columns: Sequence[str] = COLUMNS, *, title: str = ""
) -> Any:
    """A table of records for the terminal, intervals beside what they are of: `rich.print(table)`.

    ```python
    rich.print(ji.probes.records_table(ji.probes.best(records)))
    ```
    """
    import rich.box
    from rich.table import Table
    from rich.text import Text

    records = list(records)
    _check_names(records, columns)
    grid = Table(title=Text(title) if title else None, box=rich.box.SIMPLE_HEAD, title_justify="left")  # fmt: skip
    for column in columns:
        grid.add_column(Text(column), overflow="fold")
    for r in records:
        grid.add_row(*[Text(shown(r, column)) for column in columns])
    return grid


def shown(record: Record, name: str) -> str:
    """A value as text: `0.982 (0.961 to 1)` where the record has `<name>_low` and `<name>_high`."""
    from ..viz import number

    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, list):
        some = ", ".join(map(str, value[:5]))
        return some + (f", ... {len(value)}" if len(value) > 5 else "")
    if not isinstance(value, float):
        return str(value)
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    return number(value) + ("" if low is None or high is None else f" ({number(low)} to {number(high)})")  # fmt: skip


def to_pandas(records: Iterable[Record]) -> Any:
    """The records as a pandas DataFrame, a row each; needs `pip install pandas`."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError(
            "A DataFrame needs pandas: pip install pandas. Without it, records are plain dicts: "
            "ji.probes.select(records, feature=...), ji.probes.records_table(records)."
        ) from error
    return pandas.DataFrame.from_records(list(records))


def _check_names(records: list[Record], names: Iterable[str]) -> None:
    known = {name for r in records for name in r}
    for name in names:
        if records and name not in known:
            raise ValueError(f"No record has {name!r}; there are {', '.join(sorted(known))}.")


def _line(record: Record) -> str:
    if not isinstance(record, dict):
        raise ValueError(f"A record is a dict of names to values; got {type(record).__name__}.")
    return json.dumps({str(k): _plain(k, v) for k, v in record.items()}, ensure_ascii=False) + "\n"


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_scalar(name, v) for v in value]
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON knows no NaN
    if value is None or isinstance(value, str | bool | int):
        return value
    raise ValueError(
        f"A record is flat: numbers, texts, None or lists of them; {name!r} holds a "
        f"{type(value).__name__}."
    )


def _parsed(line: bytes) -> Record | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
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
