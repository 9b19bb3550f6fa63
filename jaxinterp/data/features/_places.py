"""Tables of places with coordinates, for probes of space."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from ... import viz
from ..._read import read_text
from ..._tabular import Record, Tabular
from ..._text import line


@dataclasses.dataclass(frozen=True, eq=False)
class Places(Tabular):
    """Names `(n,)` with their coordinates in degrees, and the other columns of their table.

    `is_test` is the table's own split; `columns` holds every other column as it is written.

    ```python
    places = ji.data.features.read_places("world_place.csv")
    places.names, places.targets
    ```
    """

    names: list[str]
    latitude: np.ndarray
    longitude: np.ndarray
    is_test: np.ndarray
    columns: dict[str, list[str]]

    def records(self) -> list[Record]:
        """A row for each place: its name, coordinates, split and the other columns."""
        fixed = zip(self.names, self.latitude, self.longitude, self.is_test, strict=True)
        return [
            {"name": name, "latitude": float(lat), "longitude": float(long), "is_test": bool(test)}
            | {column: values[i] for column, values in self.columns.items()}
            for i, (name, lat, long, test) in enumerate(fixed)
        ]

    def figure(self, *, title: str = "Places") -> viz.Figure:
        """A map: longitude across, latitude up."""
        halves = {"train": ~self.is_test, "test": self.is_test}
        points = {half: (self.longitude[rows], self.latitude[rows]) for half, rows in halves.items()}
        return viz.scatter(points, x_axis="longitude", y_axis="latitude", title=title)

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
    """Reads a CSV table with the columns `name`, `latitude` and `longitude`, and with `is_test` if there is one.

    The tables of Gurnee and Tegmark 2023 (https://arxiv.org/abs/2310.02207) have this form.

    **Arguments:**

    - `path`: a CSV file.
    - `max_bytes`: largest size of the file in bytes; 32 MiB by default.

    **Raises:** `ValueError` for a missing column, and for a row whose coordinates are no numbers in their range.

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
