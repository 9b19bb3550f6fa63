"""The manifest of a store: its contents, and whether a call can continue it."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._disk import PARTIAL, write_json
from .._read import TABLE, check
from ..corpus._corpus import tokens_hash
from ..corpus._model_hash import model_source
from ._files import (
    BadStore,
    fingerprint,
    read_json,
    write_array,
)
from ._layout import FORMAT, VERSION
from ._reading import Reading


def manifest_of(reading: Reading, cuts: list[int], int8: bool, stored: Any, about: Any) -> dict[str, Any]:
    """All that is known before the first row: what, of which model and data, in which shards."""
    requests = {r.name: r for r in reading.captures.requests}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "sites": [
            {
                "name": name,
                "site": requests[name].site,
                "layers": layers,
                "row": list(row),
                "dtype": (stored or own).name,
            }
            for name, (layers, row, own) in reading.shapes.items()
        ],
        "int8": int8,
        "rows": "token" if reading.by_token else "sequence",
        "reduce": reading.captures.reduce,
        "shards": [int(reading.starts[cut]) for cut in cuts],
        "model": model_source(reading.model),
        "data": {
            "sha256": fingerprint(
                tokens_hash(reading.corpus.tokens),
                np.asarray(reading.corpus.mask),
                np.asarray(reading.corpus.positions),
                _or_none(reading.captures.pos if reading.per_sequence is None else reading.per_sequence),
                [[r.site, r.layers, r.reduce, np.asarray(r.pos).tolist()] for r in reading.captures.requests],
            ),
            "sequences": int(reading.corpus.tokens.shape[0]),
            "ctx": int(reading.corpus.tokens.shape[1]),
        },
        "about": about,
        "versions": {"jaxinterp": _version(), "jax": jax.__version__, "numpy": np.__version__},
    }
    try:
        return json.loads(json.dumps(manifest))
    except (TypeError, ValueError) as error:
        raise ValueError(f"about= holds what JSON can: numbers, texts, lists, dicts ({error}).") from error


def _or_none(x: Any) -> Any:
    return "none" if x is None else x


def _version() -> str:
    try:
        return metadata.version("jaxinterp")
    except metadata.PackageNotFoundError:
        return "unknown"


def check_place(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise BadStore(f"{path} is a file; a store is a folder. Give another path.")
    if path.is_dir() and not (path / "manifest.json").is_file():
        others = [p.name for p in path.iterdir() if not p.name.startswith(PARTIAL)]
        if set(others) - {"index.npy"}:
            raise BadStore(
                f"{path} is not empty and holds no store (it has {others[0]!r}). Give a new folder."
            )


def begin(path: Path, manifest: dict[str, Any], index: np.ndarray) -> None:
    """Writes the manifest, or checks that the one that is there describes the same."""
    file = path / "manifest.json"
    if not file.is_file():
        write_array(path / "index.npy", index)
        write_json(file, manifest)
        return
    found = read_json(file)
    found = found if isinstance(found, dict) else {}
    for name, wanted in manifest.items():
        was = found.get(name)
        if name == "model" and isinstance(was, dict):  # wherever the same weights came from
            was, wanted = was.get("sha256"), wanted["sha256"]
        if name != "versions" and was != wanted:
            raise BadStore(
                f"{path} was begun with another {name}: {_short(was)}, and this call has "
                f"{_short(wanted)}. Give another folder, or delete this one."
            )


def check_versions(path: Path, manifest: dict[str, Any]) -> None:
    """Numbers may differ in the last bits between versions, so one store is written by one."""
    file = path / "manifest.json"
    found = check(file, read_json(file), {"versions": TABLE}, error=BadStore).get("versions", {})
    for name, version in manifest["versions"].items():
        if found.get(name) != version:
            raise BadStore(
                f"{path} was begun with {name} {found.get(name)}, and this is {version}: shards "
                "would differ in rounding. Go on with that version, or delete the folder."
            )


def _short(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{str(value['sha256'])[:12]}"
    text = repr(value)
    return text if len(text) < 120 else text[:117] + "..."
