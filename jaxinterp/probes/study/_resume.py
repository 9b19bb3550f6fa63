"""Which cells of a study a file holds already, and whether the file is of this study."""

from pathlib import Path
from typing import Any

from ...typing import PathLike
from ._records import BadRecords, Record, read_records

SAME = (
    "model_hash",
    "data_hash",
    "site",
    "reduce",
    "key",
    "test_share",
    "normalise",
    "balanced",
    "resamples",
)
"""What all records of one file agree in, besides the versions."""


def renamed(record: Record) -> Record:
    """A record with the names of today; files of earlier versions have `seed` and `bootstrap`."""
    names = {"seed": "key", "bootstrap": "resamples"}
    found = {names.get(name, name): value for name, value in record.items()}
    if isinstance(record.get("seed"), int):
        found["key"] = [0, record["seed"]]
    return found


def done_records(
    out: PathLike | None, settings: dict[str, Any], cells: set[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Record]:
    """The records of a file by cell, once it is sure that they are of this study."""
    if out is None or not Path(out).is_file():
        return {}
    found = [renamed(record) for record in read_records(Path(out))]
    for record in found:
        _check_same(out, record, settings)
    done = {cell: record for record in found if (cell := cell_of(record)) in cells}
    if found and len(done) < len(cells):
        for name, version in settings["versions"].items():
            if found[0].get(name) != version:
                raise BadRecords(
                    f"{out} was begun with {name} {found[0].get(name)}, and this is {version}: "
                    "numbers may differ in the last digits. Go on with that version, or give "
                    "another file."
                )
    return done


def _check_same(out: PathLike, record: Record, settings: dict[str, Any]) -> None:
    wanted = {name: settings["about"][name] for name in SAME}
    feature, method = record.get("feature"), record.get("method")
    if "model_hash" not in record or feature is None or method is None:
        raise BadRecords(f"{out} holds records of something else than a study. Give another file.")
    where = ""
    if feature in settings["split_hash"]:
        wanted["split_hash"] = settings["split_hash"][feature]
    if method in settings["methods"]:
        wanted |= settings["methods"][method]
        if method not in ("elastic", "best_subset"):  # the others have their own ridges
            wanted["gamma"] = settings["gamma"]
        where = f" for the method {method!r}"
    for name, now in wanted.items():
        if record.get(name) != now:
            what = {
                "split_hash": f"labels or split of the feature {feature!r} (split_hash)",
                "grid": f"ks (grid){where}",
                "data_hash": "data (data_hash)",
                "model_hash": "model (model_hash)",
            }.get(name, name)
            raise BadRecords(
                f"{out} was begun with another {what}: {_short(record.get(name))}, and this call has "
                f"{_short(now)}. Give another file, or delete this one."
            )


def _short(value: Any) -> str:
    return repr(value[:12]) if isinstance(value, str) else repr(value)


def cell_of(record: Record) -> tuple[Any, ...]:
    return record.get("layer"), record.get("feature"), record.get("method"), record.get("k")
