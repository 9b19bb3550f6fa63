"""Temporary names that say whose they are, so that what a dead writer left is known and removed.

A name holds the host (with its process namespace), the boot and the process: a process of this boot
that is gone is dead, and so is all of an earlier boot. Nothing is known of other hosts; what they
left is dead after a week in which nobody touched it.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path

PARTIAL = ".partial-"
LOCK = PARTIAL + "lock"
_NAME = re.compile(re.escape(PARTIAL) + r"([0-9a-f]{8})-([0-9a-f]{8})-(\d{1,12})-[0-9a-f]{8}")
_WEEK = 7 * 24 * 3600
_mine: set[str] = set()  # another process may have had this one's number


def temporary() -> str:
    """A name that nobody else has."""
    host, boot = _machine()
    name = f"{PARTIAL}{host}-{boot}-{os.getpid()}-{secrets.token_hex(4)}"
    _mine.add(name)
    return name


def is_dead(path: Path) -> bool:
    """Whether `path` has a temporary name and its writer is gone."""
    if not path.name.startswith(PARTIAL) or path.name.startswith(LOCK):
        return False
    found = _NAME.fullmatch(path.name)
    host, boot = _machine()
    if found is None or found[1] != host or os.name != "posix":
        try:
            return time.time() - path.lstat().st_mtime > _WEEK
        except OSError:
            return False
    if found[2] != boot:
        return True
    pid = int(found[3])
    if pid == os.getpid():
        return path.name not in _mine
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is another user's
        return False
    return False


def clean(folder: Path, *, folders: bool = False) -> None:
    """Removes the files, or the folders, that dead writers left in `folder`."""
    try:
        with os.scandir(folder) as entries:
            left = [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(PARTIAL) and entry.is_dir(follow_symlinks=False) == folders
            ]
    except OSError:
        return
    for path in left:
        if not is_dead(path):
            continue
        if folders:
            remove_tree(path)
        else:
            discard(path)


def discard(path: Path) -> None:
    """Removes a file, if it is there and may be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


def remove_tree(folder: Path) -> None:
    """Removes a folder that this library made and nobody has seen."""
    shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _machine() -> tuple[str, str]:
    digest = lambda text: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        boot = ""
    return digest(f"{socket.gethostname()} {space}"), digest(boot)
