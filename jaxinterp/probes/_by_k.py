"""Results for several numbers of columns k."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ..stats import Record
from ..stats._results import records_frame, records_html

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] # an extra

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ByK(Mapping[int, T], Generic[T]):
    """A mapping from a number of columns k to the result for it; made by `adaptive` and its siblings.

    `found[k]`, `found.items()` and `for k in found` read it as a dict. `.records()` has a row for each k.

    Law: `found[k]` is what the function finds for that k.
    """

    results: dict[int, T]

    def __getitem__(self, k: int) -> T:
        return self.results[k]

    def __iter__(self) -> Iterator[int]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"ByK({self.results!r})"

    def records(self) -> list[Record]:
        """One row for each k: the numbers and texts of its result, and its `support`."""
        return [{"k": k, **_plain_fields(found)} for k, found in self.items()]

    def to_pandas(self) -> "pandas.DataFrame":
        """The records as a pandas DataFrame. Needs `pip install pandas`."""
        return records_frame(self.records())

    def _repr_html_(self) -> str:
        return records_html(self.records(), "Results by k")


def _plain_fields(found: object) -> Record:
    row: Record = {}
    for field in dataclasses.fields(found):  # pyright: ignore[reportArgumentType] # results are dataclasses
        value = getattr(found, field.name)
        if isinstance(value, str | bool | int | float):
            row[field.name] = value
        elif isinstance(value, np.generic):
            row[field.name] = value.item()
        elif field.name == "support":
            row[field.name] = np.asarray(value).tolist()
    return row
