"""Documents from the rows of a table: of pandas, polars, Arrow or Hugging Face, or any dicts."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from ._document import Document


def documents(
    rows: Iterable[Any] | Any,
    *,
    text: str = "text",
    label: str | None = None,
    group: str | None = None,
    most: int | None = None,
) -> Iterator[Document]:
    r"""$(r_1, r_2, \dots) \mapsto (d_1, d_2, \dots)$: a document of each row that has a text.

    **Arguments:**

    - `rows`: a table of pandas, polars or pyarrow; a split of a Hugging Face dataset, streamed or not; or any
      iterable of dicts.
    - `text`: the column of the texts; "text" by default.
    - `label`: the column of the labels; none by default.
    - `group`: the column of the groups; none by default.
    - `most`: largest number of rows to read; all by default.

    **Returns:** a lazy iterator of `Document`s.

    **Raises:** ValueError for rows that are not dicts, and for missing columns.

    ```python
    rows = [{"text": "Das ist gut.", "lang": "de"}, {"text": "This is good.", "lang": "en"}]
    corpus = ji.data.pack(tokenizer, ji.data.documents(rows, label="lang"), ctx=16)
    # rows = pandas.read_csv("texts.csv")
    # rows = datasets.load_dataset("roneneldan/TinyStories", split="train", streaming=True)
    ```

    Law: texts are those of the column, in order, without the empty ones.
    """
    if isinstance(rows, Mapping):
        raise ValueError(
            f"Rows come one after another; this is a dict of {sorted(map(str, rows))}. From a dataset "
            "with several splits, give one: documents(dataset['train'])."
        )
    if most is not None and most < 1:
        raise ValueError(f"most counts from 1; got most={most}.")
    return _documents(_row_by_row(rows), text, label, group, most)


def _row_by_row(table: Any) -> Iterable[Any]:
    """The rows of a table as dicts. Which library it is of is seen from its methods, and none is imported."""
    by_name: Any = getattr(table, "iter_rows", None)
    as_tuples: Any = getattr(table, "itertuples", None)
    in_batches: Any = getattr(table, "to_batches", None)
    if by_name is not None:  # polars
        return by_name(named=True)
    if as_tuples is not None:  # pandas
        names = [str(name) for name in table.columns]
        return (dict(zip(names, row, strict=True)) for row in as_tuples(index=False, name=None))
    if in_batches is not None:  # Arrow
        return (row for batch in in_batches() for row in batch.to_pylist())
    return table


def _documents(
    rows: Any, text: str, label: str | None, group: str | None, most: int | None
) -> Iterator[Document]:
    named = {"text": text, "label": label, "group": group}
    for number, row in enumerate(islice(rows, most)):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"Row {number} is a {type(row).__name__}; rows are dicts, such as "
                '{"text": "..."}. Texts alone go to ji.data.pack as they are.'
            )
        for which, column in named.items():
            if column is not None and column not in row:
                raise ValueError(
                    f"Row {number} has no column {column!r}; it has {sorted(map(str, row))}. Name the "
                    f"one with the {which}s: documents(rows, {which}={next(iter(row), 'content')!r})."
                )
        if missing(row[text]):
            continue
        if not isinstance(row[text], str):
            raise ValueError(
                f"The column {text!r} holds {type(row[text]).__name__} in row {number}, not texts."
            )
        if row[text].strip():
            of = None if group is None or missing(row[group]) else str(row[group])
            kind = None if label is None or missing(row[label]) else row[label]
            yield Document(row[text], kind, of)


def missing(value: Any) -> bool:
    """None, or the NaN that tables hold in its place."""
    return value is None or value != value
