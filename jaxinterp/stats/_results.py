"""Results with named fields that are read as a dict, and shown and exported as a table."""

import dataclasses
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra

Record: TypeAlias = dict[str, Any]
"One row of a table: names to numbers, texts, truth values, None or lists of these."

SHOWN = 30
"How many rows a notebook shows of a result."


class Result:
    r"""A mixin for frozen classes whose fields are also read as a dict: `result["f1"]` is `result.f1`.

    Write the fields and their documentation in a class that inherits from `Result`:

    ```python
    @dataclasses.dataclass(frozen=True, eq=False)
    class Scores(Result):
        f1: float
        accuracy: float
        intervals: dict[str, tuple[float, float]] | None = None
    ```

    An `eqx.Module` inherits from it in the same way: `class Scores(Result, eqx.Module)`.

    The names of a result are its fields, in order. A field that is None is left out, as a key is that a
    dict does not have. So `"intervals" in scores` says whether there are intervals, and `dict(scores)`,
    `{**scores}`, `scores.items()`, `scores.get("f1")` and `for name in scores` read the fields that have a
    value. No field is named `keys`, `items`, `get` or `records`.

    Laws: `dict(result)[name] is getattr(result, name)`; `records` holds the same numbers.
    """

    def keys(self) -> list[str]:
        """The names of the fields that have a value."""
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType] # a dataclass inherits this
        return [field.name for field in fields if getattr(self, field.name) is not None]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def __getitem__(self, name: str) -> Any:
        """The field of this name. **Raises:** KeyError, with the names that the result has."""
        if name not in self.keys():
            raise KeyError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self.keys())}.")
        return getattr(self, name)

    def get(self, name: str, default: object = None) -> object:
        """The field of this name, or `default`, as of a dict."""
        return getattr(self, name) if name in self.keys() else default

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def records(self) -> list[Record]:
        """The fields as rows of a table, with plain numbers.

        Fields that are arrays or sequences of the same length n make n rows. Numbers and texts stand in
        each row. A field that is itself a mapping or a result gives one column for each of its names:
        `intervals.f1`. A result of numbers alone is one row.

        **Raises:** ValueError for fields of different lengths; such a class writes its own `records`.
        """
        columns = {name: column(value) for name, value in flattened(self)}
        lengths = {name: len(value) for name, value in columns.items() if isinstance(value, list)}
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(
                f"{type(self).__name__} is no single table; its fields have the lengths {sizes}."
            )
        if not lengths:
            return [columns]
        count = next(iter(lengths.values()))
        return [
            {name: value[row] if name in lengths else value for name, value in columns.items()}
            for row in range(count)
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """The records as a pandas DataFrame. Needs `pip install pandas`."""
        return records_frame(self.records())

    def _repr_html_(self) -> str:
        return records_html(self.records(), type(self).__name__)


def flattened(values: "Mapping[str, Any] | Result", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, with the names of mappings inside joined by dots."""
    for name, value in values.items():
        if isinstance(value, Mapping | Result):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def column(value: Any) -> Any:
    """Arrays and tuples as lists, NumPy's numbers as Python's; everything else as it is."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    return [column(one) for one in value] if isinstance(value, list | tuple) else value


def records_frame(records: Iterable[Record]) -> "pandas.DataFrame":
    """A pandas DataFrame with a row for each record. Needs `pip install pandas`."""
    try:
        module = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError(
            "A DataFrame needs pandas: pip install pandas. Without it, records are plain dicts: "
            "ji.probes.select(records, feature=...), ji.probes.records_table(records)."
        ) from error
    return module.DataFrame.from_records(list(records))


def records_html(records: Iterable[Record], title: str) -> str:
    """A table of records as HTML: the first rows, and how many there are."""
    from ..viz import table

    records = list(records)
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [
        ["" if record.get(name) is None else record[name] for name in names] for record in records[:SHOWN]
    ]
    more = f"The first {SHOWN} of {len(records)} rows; .records() has all." if len(records) > SHOWN else ""
    return table(names, rows, title=title, caption=more)._repr_html_()
