"""Records as a table with a bar under each number, to be sorted by a click on a heading."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._arguments import as_int
from .._text import number, plain
from ..typing import IntLike
from ._figure import Figure
from ._render import render

_LISTED = 6


class Entry(NamedTuple):
    """One cell: its text, what it is sorted by, its share of the column's largest, and its side."""

    text: str
    key: float | str
    share: float | None
    side: str


def records(
    records: Sequence[Mapping[str, Any]],
    *,
    title: str = "",
    top: IntLike = 500,
    caption: str = "",
) -> Figure:
    """Draws records, a dict for each row, as a table. A click on a heading sorts by its column.

    Numbers that are not whole have bars, each column on its own scale. An interval in the columns
    `f1_low` and `f1_high` stands beside the number `f1`. An interval in `low` and `high` stands beside the number
    before them. A single record is drawn as a row for each of its names.

    **Arguments:**

    - `records`: rows, such as those of a result (`result.records()`) or of a probing study.
    - `top`: how many rows are drawn, in their order; 500 by default.
    - `title`, `caption`: the title of the figure, and a sentence below it.

    **Returns:** a `Figure`.

    ```python
    ji.viz.records([{"feature": "French", "f1": 0.9, "f1_low": 0.8, "f1_high": 0.95}, {"feature": "German", "f1": 0.7}])
    ```
    """
    most = as_int(top, "top", 1)
    rows = [dict(row) for row in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    ends = _intervals(names, rows)
    shown = [name for name in names if name not in {end for pair in ends.values() for end in pair}]
    sentences = [caption] if caption else []
    if len(rows) > most:
        sentences.append(f"The first {most} of {len(rows)} rows.")
    if len(rows) == 1:
        columns = ["", "value"]
        body = [[Entry(plain(name), name, None, "high"), _cell(rows[0], name, ends, None)] for name in shown]
    else:
        columns = shown
        scales = {name: _scale(name, rows) for name in shown}
        body = [[_cell(row, name, ends, scales[name]) for name in shown] for row in rows[:most]]
    html = render(
        "records.html",
        title=title,
        caption=" ".join(sentences),
        columns=columns,
        rows=body,
        sortable=len(rows) > 1,
    )
    return Figure(title or "Records", html)


def _intervals(names: list[str], rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """The columns (low, high) of the interval of a column."""
    found = {}
    for name in names:
        for low, high in ((f"{name}_low", f"{name}_high"), (f"{name}.low", f"{name}.high")):
            if low in names and high in names:
                found[name] = low, high
    if "low" in names and "high" in names:
        before = [name for name in names[: names.index("low")] if _is_measure(name, rows)]
        if before and before[-1] not in found:
            found[before[-1]] = "low", "high"
    return found


def _is_measure(name: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a column holds numbers, and not whole ones alone: these count or name things."""
    values = [row[name] for row in rows if row.get(name) is not None]
    real = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
    return bool(values) and real and any(not isinstance(v, numbers.Integral) for v in values)


def _scale(name: str, rows: list[dict[str, Any]]) -> float | None:
    """The largest size of a measure; None for other columns."""
    if not _is_measure(name, rows):
        return None
    sizes = [abs(float(row[name])) for row in rows if row.get(name) is not None]
    return max((size for size in sizes if math.isfinite(size)), default=0.0) or None


def _cell(row: dict[str, Any], name: str, ends: dict[str, tuple[str, str]], largest: float | None) -> Entry:
    value = row.get(name)
    if value is None:
        return Entry("", "", None, "high")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return Entry(plain(_short(value)), plain(_short(value)), None, "high")
    whole = isinstance(value, numbers.Integral)
    text = str(value) if whole else number(float(value))
    low, high = (row.get(end) for end in ends.get(name, ("", "")))
    if low is not None and high is not None:
        text += f" ({number(float(low))} to {number(float(high))})"
    size = abs(float(value))
    share = None if largest is None or not math.isfinite(size) else round(100 * size / largest, 1)
    return Entry(text, float(value) if math.isfinite(value) else "", share, "low" if value < 0 else "high")


def _short(value: object) -> str:
    """A value as text; of a list the first entries."""
    if not isinstance(value, list | tuple):
        return str(value)
    parts = [number(float(v)) if isinstance(v, numbers.Real) else _short(v) for v in value[:_LISTED]]
    more = f", … {len(value)} in all" if len(value) > _LISTED else ""
    return ", ".join(parts) + more
