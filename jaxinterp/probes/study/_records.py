"""Results as tidy records: one flat dict per fit, one line of JSON each, that outlive a killed run."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._deprecations import check_path_first
from ..._disk import LineWriter, write_whole
from ..._text import grid
from ...data._lines import BadRecords as BadRecords
from ...data._lines import read_lines
from ...stats._results import records_frame
from ...typing import PathLike

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra
    from rich.table import Table

Record = dict[str, Any]
"""Names to numbers, texts, truth values, None or lists of these; `study` says which."""

COLUMNS = ("feature", "layer", "method", "k", "support", "f1", "mcc", "status")


class Writer(LineWriter):
    """Appends records, flat ones: see `_disk.LineWriter`."""

    @staticmethod
    def line(record: Any) -> str:
        """A record as a line of JSON."""
        return _line(record)


def append_records(path: PathLike, records: Iterable[Record] | Any) -> None:
    r"""$F \mapsto F \mathbin\Vert r_1 \dots r_n$: adds records at the end of a file.

    **Arguments:**

    - `path`: the file; it is created if it does not exist.
    - `records`: flat dicts.

    **Raises:** ValueError for records that are not flat; `BadRecords` where another process is
    writing the file, and for a file with other contents, which stays as it is.

    ```python
    ji.probes.append_records("results.jsonl", [{"feature": "German", "layer": 3, "f1": 0.98}])
    ```

    Law: killed at any moment, the file has whole records, and the next call removes an incomplete line.
    """
    check_path_first("ji.probes.append_records(path, records)", path)
    with Writer(Path(path)) as file:
        file.append(records)


def write_records(path: PathLike, records: Iterable[Record] | Any) -> None:
    """Writes a file of these records and no others, whole or not at all; `read_records` reads it.

    **Arguments:**

    - `path`: the file.
    - `records`: flat dicts.

    ```python
    ji.probes.write_records("best.jsonl", ji.probes.best(records))
    ```
    """
    check_path_first("ji.probes.write_records(path, records)", path)
    text = "".join(map(_line, records)).encode()
    write_whole(Path(path), text)


def read_records(path: str | Path) -> list[Record]:
    r"""$F \mapsto (r_1, \dots, r_n)$: the records of a file, without an incomplete last line.

    **Raises:** `BadRecords` for a file in which any other line is no record; FileNotFoundError.

    ```python
    records = ji.probes.read_records("results.jsonl")
    ```

    Law: it returns the records that were appended, in the same order.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. A study writes one: ji.probes.study(..., out={str(path)!r})."
        )
    return read_lines(path)


def select(records: Iterable[Record], **wanted: Any) -> list[Record]:
    r"""$\{r : r_a = v_a\ \forall a\}$: the records with these values; a list, tuple, set or range means any of its values.

    ```python
    ji.probes.select(records, feature="German", layer=range(3, 6), method="adaptive", k=1)
    ```

    **Raises:** ValueError for a name that no record has; the message lists the names.
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


def best(records: Iterable[Record], by: Sequence[str] | str = "feature", metric: str = "f1") -> list[Record]:
    r"""$\arg\max_{r \in G} m_r$ for each group G of records that agree in `by`; ties go to the first.

    The best of many records looks better than it is, because the test set selects it.

    **Arguments:**

    - `records`: records of `study`.
    - `by`: fields that define a group; "feature" by default.
    - `metric`: the field to maximise; "f1" by default.

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


def records_table(records: Iterable[Record], columns: Sequence[str] = COLUMNS, *, title: str = "") -> "Table":
    """A table of records for the terminal, with intervals beside the numbers: `rich.print(table)`.

    **Arguments:**

    - `records`: records of `study`.
    - `columns`: fields to show; by default the most useful ones.
    - `title`: the title of the table; empty by default.

    ```python
    rich.print(ji.probes.records_table(ji.probes.best(records)))
    ```
    """
    records = list(records)
    _check_names(records, columns)
    return grid(columns, [[shown(r, column) for column in columns] for r in records], title=title)


def shown(record: Record, name: str) -> str:
    """A value as text: `0.982 (0.961 to 1)` where the record has `<name>_low` and `<name>_high`."""
    from ...viz import number

    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, list):
        first = ", ".join(map(str, value[:5]))
        return first + (f", ... {len(value)}" if len(value) > 5 else "")
    if not isinstance(value, float):
        return str(value)
    low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
    return number(value) + ("" if low is None or high is None else f" ({number(low)} to {number(high)})")


def to_pandas(records: Iterable[Record]) -> "pandas.DataFrame":
    """The records as a pandas DataFrame, with a row for each. Needs `pip install pandas`.

    ```python
    ji.probes.to_pandas(records)[["feature", "layer", "k", "f1"]]
    ```
    """
    return records_frame(records)


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
        f"A record is flat: numbers, texts, None or lists of them; {name!r} holds a {type(value).__name__}."
    )
