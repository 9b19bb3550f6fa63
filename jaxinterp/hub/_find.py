"""Which folder or file a name means: embedded, on disk, in an installed package, or on the hub."""

import os
from pathlib import Path
from typing import Any

from .._disk import manifest_name
from ..typing import PathLike
from . import _orbax
from ._errors import UnknownModel, near
from ._fetch import Snapshot, fetch, from_cache, is_cache
from ._packaged import packaged
from ._ports import short_names
from ._single_file_open import SUFFIXES, lone_gguf

TINY = "tiny"


def resolve(name_or_path: PathLike, revision: str | None, **where: Any) -> tuple[Snapshot, str]:
    """The folder to read and the name it goes by."""
    name = os.fspath(name_or_path)
    if name == TINY:
        return _folder(_embedded(), revision), TINY
    path, short = Path(name).expanduser(), short_names()
    if path.is_dir() and (_holds_model(path) or name.lower() not in short):
        return _folder(path, revision), name
    if path.is_file():
        return _file(path, revision), name
    if isinstance(name_or_path, Path) or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"There is no folder {name}: give a folder, or a model's name.")
    package = packaged(name) if revision is None else None
    if package is not None:
        return Snapshot(package.path, package.version), package.what
    if name.lower() in short:
        name = short[name.lower()]
    elif name.count("/") != 1 or not all(name.split("/")):
        known = [TINY, *short]
        raise UnknownModel(
            f"There is no model {name!r}{near(name, known)}. Known names: {', '.join(known)}. "
            'Otherwise give a hub id, ji.load("organisation/name"), or a folder.'
        )
    return fetch(name, revision, **where), name


def _embedded() -> Path:
    folder = Path(__file__).resolve().parent.parent / "_tiny"
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"The embedded model is not in {folder}: the installation is incomplete; install jaxinterp again."
        )
    return folder


def _holds_model(path: Path) -> bool:
    # Of a write that was cut off the manifest is there, and loading completes it.
    marks = ("config.json", manifest_name("model"))
    whole = any((path / name).is_file() for name in marks) or _orbax.is_saved(path) or is_cache(path)
    return whole or any(path.glob("*.gguf"))


def _folder(path: Path, revision: str | None) -> Snapshot:
    if is_cache(path):
        return from_cache(path, revision)
    if revision is not None:
        raise ValueError(
            f"Revisions are of the hub; {path} is a plain folder. Leave out revision={revision!r}, "
            "or give the folder of that checkpoint."
        )
    if not (path / "config.json").is_file():
        return Snapshot(lone_gguf(path) or path, "")
    return Snapshot(path, "")


def _file(path: Path, revision: str | None) -> Snapshot:
    torch = path.suffix == ".bin" and _starts(path, b"PK", b"\x80\x02")
    if path.suffix not in SUFFIXES or torch:
        raise ValueError(
            f"{path} is a file. Give the folder that holds it and its config.json, "
            f"ji.load({str(path.parent)!r}), or a file that is a whole model: a .gguf, or a .bin of "
            "llama2.c."
        )
    if revision is not None:
        raise ValueError(f"Revisions are of the hub; {path} is a file. Leave out revision={revision!r}.")
    return Snapshot(path, "")


def _starts(path: Path, *marks: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(marks)
