"""The manifest of a folder: which of its files were written together, with sizes and hashes.

A folder may hold files of others beside them; those are in no manifest, and are never touched.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

PREFIX, SUFFIX = "jaxinterp-", ".json"
MOST_BYTES = 64 << 20
Files = dict[str, dict[str, Any]]


class BadFolder(ValueError):
    """A folder whose files were not written together, or were changed since."""


def manifest_name(part: str) -> str:
    """Where the manifest of a part of a folder lies: a model, a dictionary, a lens."""
    return f"{PREFIX}{part}{SUFFIX}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """`files` by name, and the `raw` bytes that say so."""

    files: Files
    raw: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


def read_manifest(folder: Path, part: str) -> Manifest | None:
    """The manifest of a part; None where there is none, as in folders of others."""
    path = folder / manifest_name(part)
    if not path.is_file():
        return None
    wrong = BadFolder(
        f"{path} is damaged: it is no manifest. Write the folder again, or delete that file to read the folder unchecked."
    )
    if path.stat().st_size > MOST_BYTES:
        raise wrong
    raw = path.read_bytes()
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise wrong from None
    if isinstance(found, dict) and "files" not in found:
        return None  # the mark of an earlier version
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict) or not all(map(_is_entry, files.items())):
        raise wrong
    return Manifest(files, raw)


def _is_entry(item: tuple[Any, Any]) -> bool:
    name, about = item
    return (
        is_inside(name)
        and isinstance(about, dict)
        and isinstance(about.get("sha256"), str)
        and type(about.get("bytes")) is int
    )


def is_inside(name: Any) -> bool:
    """Whether a name is one of a file within the folder: a manifest comes with the folder."""
    if not isinstance(name, str) or "\0" in name or "\\" in name or PureWindowsPath(name).drive:
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def all_parts(folder: Path) -> list[str]:
    """The parts of a folder that have a manifest."""
    names = (path.name for path in folder.glob(f"{PREFIX}*{SUFFIX}"))
    return sorted(name[len(PREFIX) : -len(SUFFIX)] for name in names)


def described(folder: Path) -> Files:
    """Size and hash of every file below a folder."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return dict(zip(names, _hashed([folder / name for name in names]), strict=True))


def different(folder: Path, files: Files, only: Collection[str] | None = None) -> str | None:
    """What is wrong with the first file that is not as a manifest says, or None."""
    chosen = {name: about for name, about in files.items() if only is None or name in only}
    for name, about in chosen.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != about["bytes"]:
            return f"{name} has {size:,} bytes and was written with {about['bytes']:,}"
    try:
        found = _hashed([folder / name for name in chosen])
    except FileNotFoundError as error:  # it is being replaced
        return f"{Path(str(error.filename)).name} is missing"
    for (name, about), here in zip(chosen.items(), found, strict=True):
        if here["sha256"] != about["sha256"]:
            return f"{name} has another content than was written"
    return None


def unchanged(folder: Path, files: Files) -> set[str]:
    """The files that are as a manifest says, and lie in the folder itself."""
    root = folder.resolve()
    return {
        name
        for name, about in files.items()
        if (folder / name).parent.resolve().is_relative_to(root) and different(folder, {name: about}) is None
    }


def _hashed(paths: Iterable[Path]) -> list[dict[str, Any]]:
    paths = list(paths)
    if sum(path.stat().st_size for path in paths) < 64 << 20:
        return list(map(_hash, paths))
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(_hash, paths))


def _hash(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}
