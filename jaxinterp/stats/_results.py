"""Results with named fields that are read as a dict, and shown and exported as a table."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from .._tabular import SHOWN as SHOWN
from .._tabular import Record as Record
from .._tabular import Tabular as Tabular
from .._tabular import column as column
from .._tabular import flattened as flattened
from .._tabular import records_frame as records_frame
from .._tabular import records_html as records_html
from .._tabular import table_figure as table_figure


class Result(Tabular):
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
    value. No field is named `keys`, `items`, `get`, `records` or `figure`.

    `records`, `to_pandas`, `figure` and the table in a notebook are those of every result.

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
