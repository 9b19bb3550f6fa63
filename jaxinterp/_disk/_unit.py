"""A folder as one unit: all of its files are of one write, or it says so.

Where nothing is there yet, the folder is built beside its place and renamed. Where something is, the
files are built in a folder within, under a temporary name. The moment that counts is one rename: the
manifest of the new files takes the place of the old one. Then the files are moved. Whoever finds them
half-moved, a reader or the next writer, moves the rest (`recover`), as a database does with its
journal. Only files that a manifest lists are ever removed; a file of another's is replaced where the new
one has its name, unless the writer names it in `first`.
"""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._journal import PLAN, finish, is_committed, write_durably
from ._lock import alone
from ._manifest import (
    BadFolder,
    Files,
    all_parts,
    described,
    manifest_name,
    read_manifest,
    unchanged,
)
from ._owner import PARTIAL, clean, remove_tree, temporary
from ._whole import sync_file, sync_folder, system_errors


@contextlib.contextmanager
def unit(
    path: Path,
    part: str,
    entry: str,
    *,
    over: Sequence[str] = (),
    first: Collection[str] = (),
    known: Collection[str] = (),
    pointer: bool = False,
    fresh: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """A folder to write files into, which become the `part` of the folder `path` all at once.

    `entry` is the file without which other programs read nothing: it goes first and comes last. With
    `pointer` all other names are new with each write, and it is replaced by one rename. `over`: parts
    that this one replaces too. `first`: files that would be read in place of the new ones, or must not
    be lost; where others wrote them, the write is refused. Names may be added in the block. `known`: files of earlier versions, without a manifest.
    `fresh`: only where nothing is. `about`: more for the manifest.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file, and a folder is written. Give another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = path.is_dir()
    home = path if inside else path.parent
    recover(home)
    if inside:
        _own(path, part, over, first, known)  # what is refused is refused before the work
    staged = home / temporary()
    staged.mkdir()
    moved = [staged]
    try:
        with system_errors(path):
            yield staged
        _seal(staged, part, about)
        _place(moved, path, part, entry, over, first, known, pointer, fresh)
    except BaseException:
        if not is_committed(moved[0], path, part):
            remove_tree(moved[0])
        raise


def recover(folder: Path) -> None:
    """Completes what was committed in a folder, and removes what dead writers left there."""
    left = _staged(folder)
    if not left:
        return
    with alone(folder):
        for staged in left:
            for part in all_parts(folder):
                if is_committed(staged, folder, part):
                    finish(staged, folder, part)
        clean(folder, folders=True)


def _staged(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(PARTIAL) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []


def _seal(staged: Path, part: str, about: Mapping[str, Any] | None) -> None:
    """Makes all files durable, and says in a manifest, last, what they are."""
    files = described(staged)
    for name in files:
        sync_file(staged / name)
    for folder in {(staged / name).parent for name in files}:
        sync_folder(folder)
    manifest = {"format": "jaxinterp.files", "version": 1, "part": part, **(about or {}), "files": files}
    write_durably(staged / manifest_name(part), manifest)


def _place(
    moved: list[Path],
    path: Path,
    part: str,
    entry: str,
    over: Sequence[str],
    first: Collection[str],
    known: Collection[str],
    pointer: bool,
    fresh: bool,
) -> None:
    staged = moved[0]
    if staged.parent != path:
        try:
            os.rename(staged, path)
            return sync_folder(path.parent)
        except OSError:
            if not path.is_dir():
                raise
        if fresh:  # another process was quicker
            raise FileExistsError(f"{path} is there now: another process wrote it. Give another name.")
        os.rename(staged, path / staged.name)
        moved[0] = staged = path / staged.name
    with alone(path):
        for left in _staged(path):
            for one in all_parts(path):
                if is_committed(left, path, one):
                    finish(left, path, one)
        own = _own(path, part, over, first, known)
        new = read_manifest(staged, part)
        assert new is not None
        _check_fits(path, new.files, [part, *over])
        gone = [manifest_name(one) for one in over if (path / manifest_name(one)).is_file()]
        stale = sorted(own - set(new.files)) + gone
        plan = {"part": part, "entry": entry, "pointer": pointer, "stale": stale, "sha256": new.sha256}
        write_durably(staged / PLAN, plan)
        os.replace(staged / manifest_name(part), path / manifest_name(part))
        sync_folder(path)
        finish(staged, path, part)


def _own(
    path: Path, part: str, over: Sequence[str], first: Collection[str], known: Collection[str]
) -> set[str]:
    """The files that this write may remove."""
    own: set[str] = set()
    for one in (part, *over):
        try:
            found = read_manifest(path, one)
        except BadFolder:
            found = None  # then none of the files is known
        if found is not None:
            own |= unchanged(path, found.files)
    if not own:
        own = {name for name in known if (path / name).is_file()}
    for name in first:
        if (path / name).exists() and name not in own:
            _check_fits(path, {name: {"sha256": ""}}, [part, *over])  # it says whose it is
            raise FileExistsError(
                f"{path} holds {name}, which was not written with the files that are replaced: it would be "
                "lost, or be read in their place. Give another folder, or remove that file first."
            )
    return own


def _check_fits(path: Path, files: Files, parts: Sequence[str]) -> None:
    """No name is one of another part of the folder, or of a folder in it."""
    for one in all_parts(path):
        try:
            other = None if one in parts else read_manifest(path, one)
        except BadFolder:
            other = None
        listed = {} if other is None else other.files
        for name, about in files.items():
            if listed.get(name, about)["sha256"] != about["sha256"]:
                raise FileExistsError(
                    f"{path} holds a {one} that has a {name} of its own; this would replace it. Give "
                    "another folder."
                )
    for name in files:
        above = [path / up for up in Path(name).parents]
        if (path / name).is_dir() or any(up.exists() and not up.is_dir() for up in above):
            raise FileExistsError(
                f"{path / name} cannot be written: a folder or file is in its place. Give another folder."
            )
