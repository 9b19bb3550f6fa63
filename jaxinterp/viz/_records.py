"""Records of a probing study as series over one axis: the best record at each point."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Series:
    """What `lines` draws: curves over one `x`, with an interval where the records have one."""

    curves: dict[str, np.ndarray]
    x: np.ndarray
    bands: dict[str, tuple[np.ndarray, np.ndarray]]


def best_series(
    records: Iterable[Mapping[str, Any]], axis: str, features: Sequence[str] | None, metric: str
) -> Series:
    """For each feature and each value of `axis` the best record: its measure and interval, else NaN."""
    records = list(records)
    if not records:
        raise ValueError("There are no records to draw: did a selection leave none?")
    missing = [name for name in ("feature", axis, metric) if all(r.get(name) is None for r in records)]
    if missing:
        raise ValueError(f"No record has {missing[0]!r}; there are {', '.join(records[0])}.")
    known = list(dict.fromkeys(str(r["feature"]) for r in records))
    chosen = known if features is None else list(features)
    if absent := [name for name in chosen if name not in known]:
        raise ValueError(f"No record is of the feature {absent[0]!r}; there are {', '.join(known)}.")
    xs = sorted({r[axis] for r in records if r.get(axis) is not None and r["feature"] in chosen})
    best: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for r in records:
        at = str(r["feature"]), r.get(axis)
        if r.get(metric) is not None and (at not in best or r[metric] > best[at][metric]):
            best[at] = r

    def values(feature: str, name: str) -> np.ndarray:
        of = (best.get((feature, x), {}).get(name) for x in xs)
        return np.array([np.nan if v is None else float(v) for v in of])

    series = {name: values(name, metric) for name in chosen}
    bands = {name: (values(name, f"{metric}_low"), values(name, f"{metric}_high")) for name in chosen}
    bands = {name: band for name, band in bands.items() if np.isfinite(band[0]).any()}
    return Series(series, np.array(xs, float), bands)
