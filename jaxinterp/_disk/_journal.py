"""The journal of a folder that is replaced: which files a write puts in place, and which it removes.

A committed write is one whose manifest is in place. Its temporary folder holds a plan, and whoever
finds it moves the rest of its files.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._manifest import is_inside, read_manifest
from ._owner import discard, remove_tree
from ._whole import put, sync_file, sync_folder

PLAN = ".plan"  # in a temporary folder: what its files replace


def write_durably(path: Path, value: Any) -> None:
    put(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    sync_file(path)
    sync_folder(path.parent)


def is_committed(staged: Path, path: Path, part: str) -> bool:
    """Whether a temporary folder holds the files that the manifest in place speaks of."""
    try:
        plan = json.loads((staged / PLAN).read_bytes())
        found = read_manifest(path, part)
    except (OSError, ValueError, RecursionError):
        return False
    return (
        staged.parent == path
        and found is not None
        and isinstance(plan, dict)
        and plan.get("part") == part
        and plan.get("sha256") == found.sha256
        and is_inside(plan.get("entry"))
        and isinstance(plan.get("stale"), list)
        and all(map(is_inside, plan["stale"]))
    )


def finish(staged: Path, path: Path, part: str) -> None:
    """Moves the files that are not in place yet. A second call goes on where the first one stopped."""
    plan = json.loads((staged / PLAN).read_bytes())
    found = read_manifest(path, part)
    assert found is not None
    names = sorted(found.files, key=lambda name: name == plan["entry"])
    if not plan["pointer"]:
        if (staged / plan["entry"]).is_file():
            (path / plan["entry"]).unlink(missing_ok=True)
        _remove(path, plan["stale"])
    for name in names:
        if (staged / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / name, path / name)
    if plan["pointer"]:
        _remove(path, plan["stale"])
    for folder in {(path / name).parent for name in names}:
        sync_folder(folder)
    discard(staged / PLAN)
    remove_tree(staged)


def _remove(path: Path, names: Sequence[str]) -> None:
    root = path.resolve()
    for name in names:
        if (path / name).parent.resolve().is_relative_to(root):
            (path / name).unlink(missing_ok=True)
    for folder in sorted({up for name in names for up in Path(name).parents}, reverse=True):
        if folder != Path():
            with contextlib.suppress(OSError):  # it holds something else, or is gone
                (path / folder).rmdir()
