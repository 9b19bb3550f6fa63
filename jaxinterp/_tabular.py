"""Results as rows of a table: shown in a notebook, exported to pandas, and drawn."""

import dataclasses
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

from ._text import check_tokenizer

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra

    from .viz import Figure

Record: TypeAlias = dict[str, Any]
"One row of a table: names to numbers, texts, truth values, None or lists of these."

SHOWN = 30
"How many rows a notebook shows of a result."


class Tabular:
    """A mixin for what a function returns: `records`, `to_pandas`, `figure`, and a table in a notebook.

    All of these are made from `records`. That of a dataclass holds its fields: a class whose fields are no
    single table writes its own. `figure` is a table with bars; a class with a better picture draws that.

    Law: the figure, the notebook and pandas show the numbers of `records`.
    """

    def records(self) -> list[Record]:
        """The fields as rows of a table, with plain numbers.

        Fields that are arrays or sequences of the same length n make n rows. Numbers and texts stand in
        each row. A field that is itself a mapping or a result gives one column for each of its names:
        `intervals.f1`. A result of numbers alone is one row.

        **Raises:** ValueError for fields of different lengths; such a class writes its own `records`.
        """
        return rows_of(self)

    def to_pandas(self) -> "pandas.DataFrame":
        """The records as a pandas DataFrame. Needs `pip install pandas`."""
        return records_frame(self.records())

    def figure(self) -> "Figure":
        """The records as a table with bars, to be sorted by a click on a heading."""
        return table_figure(self.records(), title_of(self))

    def _repr_html_(self) -> str:
        return records_html(self.records(), title_of(self))


def title_of(result: object) -> str:
    """The `heading` of its class, or its name in words: `HeadScores` is "Head scores"."""
    if heading := getattr(type(result), "heading", ""):
        return str(heading)
    first, *rest = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(result).__name__).split()
    return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])


def rows_of(shown: Any) -> list[Record]:
    """The fields of a dataclass, or the entries of a mapping, as rows; see `Tabular.records`."""
    columns = {name: column(value) for name, value in flattened(shown)}
    lengths = {name: len(value) for name, value in columns.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{type(shown).__name__} is no single table; its fields have the lengths {sizes}.")
    if not lengths:
        return [columns]
    count = next(iter(lengths.values()))
    return [
        {name: value[row] if name in lengths else value for name, value in columns.items()}
        for row in range(count)
    ]


def flattened(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values, with the names of mappings and results inside joined by dots."""
    for name, value in _entries(values):
        if isinstance(value, Mapping | Tabular):
            yield from flattened(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _entries(values: Any) -> list[tuple[str, Any]]:
    if isinstance(values, Mapping) or not dataclasses.is_dataclass(values):
        return list(values.items())
    return [(field.name, getattr(values, field.name)) for field in dataclasses.fields(values)]


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
    return table_figure(records, title, SHOWN)._repr_html_()


def table_figure(records: Iterable[Record], title: str, most: int = 500) -> "Figure":
    """A table of records with bars: the first rows, and how many there are."""
    return drawing().records(list(records), title=title, top=most)


def drawing() -> Any:
    """`ji.viz`, found when something is drawn: packages below it have results too."""
    return importlib.import_module("jaxinterp.viz")


def pieces(tokenizer: Any, ids: Iterable[Any]) -> list[str]:
    """The strings of token ids, or the ids between angle brackets where there is no tokenizer."""
    if tokenizer is None:
        return [f"<{int(i)}>" for i in ids]
    return check_tokenizer(tokenizer, "found.records(tokenizer)").tokens(ids)
