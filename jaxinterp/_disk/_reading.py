"""What a reader does before and after: the files are of one write, and stay so while they are read."""

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from ._lock import Busy
from ._manifest import BadFolder, different, manifest_name, read_manifest
from ._unit import recover

Given = ParamSpec("Given")
Read = TypeVar("Read")
TRIES, PAUSE = 20, 0.05  # seconds


def settled(load: Callable[Given, Read]) -> Callable[Given, Read]:
    """The same reader, which begins anew where a folder is being written: it gives the old or the new."""

    @functools.wraps(load)
    def again(*args: Given.args, **options: Given.kwargs) -> Read:
        for _ in range(TRIES):
            try:
                return load(*args, **options)
            except ValueError as error:
                if not getattr(error, "in_motion", False):
                    raise
            except FileNotFoundError:
                # A file that a manifest counts is missing only while another takes its place.
                if not (args and _has_manifest(args[0])):
                    raise
            time.sleep(PAUSE)
        return load(*args, **options)

    return again


def _has_manifest(place: object) -> bool:
    return isinstance(place, str | Path) and any(Path(place).glob(manifest_name("*")))


def _in_motion(error: ValueError) -> ValueError:
    setattr(error, "in_motion", True)  # noqa: B010 - errors of any class are marked
    return error


@contextlib.contextmanager
def reading(
    folder: str | Path,
    part: str,
    *,
    only: Collection[str] | None = None,
    wrong: type[ValueError] = BadFolder,
) -> Iterator[None]:
    """Checks a part of a folder by its manifest; where there is none, nothing is checked.

    A write that was killed after it counted is completed first. Raises `wrong` for files that were
    not written together, and where the folder was written anew within the block.
    """
    folder = Path(folder)
    if not folder.is_dir():
        yield
        return
    try:
        before = _checked(folder, part, only)
    except BadFolder as error:
        problem = wrong(str(error))
        raise (_in_motion(problem) if getattr(error, "in_motion", False) else problem) from error
    again = _in_motion(wrong(f"{folder} was written anew while it was read. Load it again."))
    try:
        yield
    except Exception as error:
        if not _is(folder, part, before):
            raise again from error
        raise
    if not _is(folder, part, before):
        raise again


def _is(folder: Path, part: str, before: bytes | None) -> bool:
    try:
        found = read_manifest(folder, part)
    except (OSError, BadFolder):
        return False
    return (None if found is None else found.raw) == before


def _checked(folder: Path, part: str, only: Collection[str] | None) -> bytes | None:
    found = read_manifest(folder, part)
    if found is None:
        return None
    wrong = different(folder, found.files, only)
    if wrong is not None:
        try:
            recover(folder)
        except (OSError, Busy) as error:
            problem = BadFolder(
                f"{folder} was being written when that was cut off: {wrong}. Whoever loads it where the "
                f"folder can be written completes it; here that failed ({error})."
            )
            raise (_in_motion(problem) if isinstance(error, Busy) else problem) from error
        found = read_manifest(folder, part)
        wrong = None if found is None else different(folder, found.files, only)
    if wrong is not None:
        raise BadFolder(
            f"{folder}: {wrong}, so this is not the {part} that jaxinterp wrote. Write the folder again. If "
            f"the change was on purpose, yours or another program's, delete {manifest_name(part)} in it."
        )
    return None if found is None else found.raw
