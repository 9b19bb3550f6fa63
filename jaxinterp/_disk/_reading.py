"""What a reader does before and after: the files are of one write, and stay so while they are read."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from ._lock import Busy
from ._manifest import BadFolder, different, manifest_name, read_manifest
from ._unit import recover


@contextlib.contextmanager
def reading(folder: str | Path, *parts: str, only: Collection[str] | None = None) -> Iterator[None]:
    """Checks the manifests of some parts of a folder; where there is none, nothing is checked.

    A write that was killed after it counted is completed first. Raises `BadFolder` for files that
    were not written together, and where the folder was written anew within the block.
    """
    folder = Path(folder)
    if not folder.is_dir():
        yield
        return
    before = [_checked(folder, part, only) for part in parts]
    try:
        yield
    except Exception as error:
        if [_raw(folder, part) for part in parts] != before:
            raise _rewritten(folder) from error
        raise
    if [_raw(folder, part) for part in parts] != before:
        raise _rewritten(folder)


def _rewritten(folder: Path) -> BadFolder:
    return BadFolder(f"{folder} was written anew while it was read. Load it again.")


def _raw(folder: Path, part: str) -> bytes | None:
    found = read_manifest(folder, part)
    return None if found is None else found.raw


def _checked(folder: Path, part: str, only: Collection[str] | None) -> bytes | None:
    found = read_manifest(folder, part)
    if found is None:
        return None
    wrong = different(folder, found.files, only)
    if wrong is not None:
        try:
            recover(folder)
        except (OSError, Busy) as error:
            raise BadFolder(
                f"{folder} was being written when that was cut off: {wrong}. Whoever loads it where the "
                f"folder can be written completes it; here that failed ({error})."
            ) from error
        found = read_manifest(folder, part)
        wrong = None if found is None else different(folder, found.files, only)
    if wrong is not None:
        raise BadFolder(
            f"{folder}: {wrong} by jaxinterp, so the files are not of one {part}. Write the folder "
            f"again. If you changed them on purpose, delete {manifest_name(part)} in it."
        )
    return None if found is None else found.raw
