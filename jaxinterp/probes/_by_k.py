"""Results for several numbers of columns k."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np

from .._tabular import Tabular
from ..stats import Record

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ByK(Tabular, Mapping[int, T], Generic[T]):
    """A mapping from a number of columns k to its result; made by `adaptive`, `best_subsets` and `pca_ridge`.

    `found[k]`, `found.items()` and `for k in found` read it as a dict. `.records()` has a row for each k.

    ```python
    found = ji.probes.adaptive(x, y, ks=[1, 2, 4])
    found[2].support, list(found), found.records()[0]
    ```

    Law: `found[k]` is the result of the function for that k.
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
