"""Killed at every thing that they do to a folder, and on a full disk, writers leave the old or the new."""

import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxinterp._disk import _owner

from .killed import events, full
from .writers import CASES, TAUGHT, Case

EVERY = pytest.mark.parametrize(
    "case, over",
    [
        pytest.param(
            case,
            over,
            id=f"{case.name} over {'the old' if over else 'nothing'}",
            marks=[pytest.mark.slow] if case.slow else [],
        )
        for case in CASES
        for over in (False, True)
        if not (over and case.once)
    ],
)
GONE = "nothing"


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: Any) -> None:
    """No power is cut here, and waiting for a disk is most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def told(case: Case, place: Path, known: dict[Any, Any]) -> Any:
    """What is there, or GONE where a reader says in a sentence that there is nothing to read.

    The same files are read once: most events leave what everybody reads as it was.
    """
    state = seen(place)
    if state not in known:
        try:
            known[state] = case.read(place)
        except TAUGHT as error:
            assert len(str(error)) > 5
            known[state] = GONE
    return known[state]


def seen(place: Path) -> Any:
    """All that a reader can find: files, without those that were never committed."""
    found = []
    for path in [place, *place.parent.rglob("*")]:
        if path.is_file():
            name = path.relative_to(place.parent).as_posix()
            staged = next((up for up in path.parents if up.name.startswith(_owner.PARTIAL)), None)
            if path.name.startswith(_owner.PARTIAL) or (staged and not (staged / ".plan").is_file()):
                continue
            found.append((re.sub(r"\.partial-[^/]*", "staged", name), path.read_bytes()))
    return tuple(sorted(found))


def plain(place: Path, entry: str) -> dict[str, bytes] | None:
    """What a program sees that knows no manifests."""
    if not (place / entry).is_file():
        return None
    names = [path for path in place.rglob("*") if path.is_file()]
    own = [p for p in names if not p.relative_to(place).as_posix().startswith((".partial", "jaxinterp-"))]
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in own}


class Ground:
    """A folder in which a case is run again and again from the same start."""

    def __init__(self, root: Path, case: Case, over: bool) -> None:
        self.case, self.root, self.number = case, root, 0
        self.known: dict[Any, Any] = {}
        self.checks = 0
        self.base = self.fresh("base")
        if over:
            case.write(self.place(self.base), 0)
        self.old = self.told(self.copy()) if over else GONE
        self.seen_old = self.plain(self.base)
        new = self.copy()
        self.count = events(new, lambda: case.write(self.place(new), 1))
        self.seen_new = self.plain(new)
        self.new = self.told(new)
        assert self.new != GONE

    def told(self, folder: Path) -> Any:
        return told(self.case, self.place(folder), self.known)

    def fresh(self, name: str) -> Path:
        (self.root / name).mkdir()
        return self.root / name

    def copy(self) -> Path:
        self.number += 1
        return Path(shutil.copytree(self.base, self.root / f"{self.number}"))

    def place(self, folder: Path) -> Path:
        return folder / self.case.name

    def plain(self, folder: Path) -> Any:
        place = self.place(folder)
        return plain(place, self.case.entry) if self.case.entry and place.is_dir() else None

    def moments(self) -> list[int]:
        return sorted(
            {round(k) for k in np.linspace(0, self.count - 1, self.case.most)}
            if self.count > self.case.most
            else range(self.count)
        )

    def check(self, folder: Path) -> None:
        """The old or the new, for everybody; and the next write ends as if nothing had been."""
        case, place = self.case, self.place(folder)
        seen = self.plain(folder)
        assert seen is None or seen in (self.seen_old, self.seen_new)
        found = self.told(folder)
        if not case.once:
            if case.grows:  # whole records, of those that were there and those that came
                assert found == GONE or found in self.grown(), found
            else:
                assert found in (self.old, self.new) or (found == GONE and case.foreign), found
        if case.once:
            assert found in (GONE, self.new)
        self.checks += 1
        if case.once or self.checks % (3 if case.slow else 2):
            return
        case.write(place, 1)
        if not case.grows:
            assert self.told(folder) == self.new
        left = [p for p in folder.rglob(f"{_owner.PARTIAL}*") if not p.name.startswith(_owner.LOCK)]
        assert not left, left

    def grown(self) -> list[str]:
        from jaxinterp.probes import read_records

        whole = self.copy()
        self.case.write(self.place(whole), 1)
        records = read_records(self.place(whole))
        return [str(records[:n]) for n in range(len(records) + 1)]


@pytest.fixture
def ground(tmp_path: Path, case: Case, over: bool) -> Iterator[Ground]:
    yield Ground(tmp_path, case, over)


@EVERY
def test_killed_at_every_event(ground: Ground, case: Case) -> None:
    assert ground.count > 0
    for k in ground.moments():
        folder = ground.copy()
        case.end(folder, lambda folder=folder: case.write(ground.place(folder), 1), k)
        _owner._mine.clear()  # its writer is dead
        ground.check(folder)
        shutil.rmtree(folder)


@EVERY
def test_a_full_disk(ground: Ground, case: Case) -> None:
    """The old stays, nothing is left behind, and with room again the same call goes on."""
    failed = 0
    for k in range(min(ground.count + 1, case.most)):
        folder = ground.copy()
        error = full(folder, lambda folder=folder: case.write(ground.place(folder), 1), k)
        if error is None:
            break
        failed += 1
        assert error.errno == errno.ENOSPC or "No space left" in str(error), error
        ground.check(folder)
        shutil.rmtree(folder)
    assert failed


@pytest.mark.slow
@EVERY
def test_no_room_for_bytes(ground: Ground, case: Case) -> None:
    """Files may not grow beyond n bytes: also those that libraries in C write."""
    sizes = [p.stat().st_size for p in ground.root.rglob("*") if p.is_file()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for n in np.unique(np.linspace(0, max(sizes), 4 if case.slow else 8).astype(int)):
        folder = ground.copy()
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(n), hard))
        try:
            case.write(ground.place(folder), 1)
        except Exception:
            done = False
        else:
            done = True
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if not done:
            _owner._mine.clear()
            ground.check(folder)
        shutil.rmtree(folder)
