"""Tables of places with coordinates, for probes of space."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from ..._read import read_text
from ..._text import line


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Names `(n,)` with their coordinates in degrees and what else the table says of them.

    `is_test` is the table's own split; `columns` holds every other column as it is written.
    """

    names: list[str]
    latitude: np.ndarray
    longitude: np.ndarray
    is_test: np.ndarray
    columns: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Any) -> "Places":
        """The places of some rows: a slice, ints or a mask."""
        chosen = np.arange(len(self))[rows]
        if chosen.ndim != 1:
            raise ValueError("Choose several places: places[:10], places[[3]], places[mask].")
        return Places(
            [self.names[i] for i in chosen],
            self.latitude[chosen],
            self.longitude[chosen],
            self.is_test[chosen],
            {name: [values[i] for i in chosen] for name, values in self.columns.items()},
        )

    def __repr__(self) -> str:
        return f"Places({len(self)}: {', '.join(map(line, self.names[:3]))}, ...; {list(self.columns)})"

    @property
    def targets(self) -> np.ndarray:
        """`(n, 2)` float32: latitude and longitude."""
        return np.stack([self.latitude, self.longitude], 1).astype(np.float32)


def read_places(path: str | Path, *, max_bytes: int = 2**25) -> Places:
    """A CSV table with the columns `name`, `latitude`, `longitude` and, if it has it, `is_test`.

    Such as those of Gurnee and Tegmark 2023 (https://arxiv.org/abs/2310.02207).

    **Arguments:**

    - `path`: a CSV file.
    - `max_bytes`: largest size of the file in bytes; 32 MiB by default.

    **Raises:** `ValueError` for a missing column, or for coordinates that are none, with the row.

    ```python
    places = ji.data.features.read_places("world_place.csv")
    big = places[np.asarray([kind == "city" for kind in places.columns["entity_type"]])]
    ```

    Law: every latitude is in -90..90, every longitude in -180..180.
    """
    text = read_text(path, max_bytes=max_bytes)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = list(reader)
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV ({error}).") from error
    missing = [name for name in ("name", "latitude", "longitude") if name not in header]
    if missing or not rows:
        raise ValueError(
            f"{path} has {len(rows)} rows and the columns {header}; a table of places needs name, "
            "latitude and longitude."
        )
    found = {}
    for name, limit in (("latitude", 90), ("longitude", 180)):
        values = np.asarray([_number(row[name]) for row in rows])
        wrong = np.flatnonzero(~(np.abs(values) <= limit))
        if len(wrong):
            row = rows[wrong[0]]
            raise ValueError(
                f"{path}, row {wrong[0] + 2}: the {name} of {row['name']!r} is {row[name]!r}, not a "
                f"number in -{limit}..{limit}."
            )
        found[name] = values
    is_test = np.asarray([str(row.get("is_test")).strip().lower() == "true" for row in rows])
    others = [c for c in header if c not in ("name", "latitude", "longitude", "is_test")]
    return Places(
        [row["name"] or "" for row in rows],
        found["latitude"],
        found["longitude"],
        is_test,
        {name: [row[name] or "" for row in rows] for name in others},
    )


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
