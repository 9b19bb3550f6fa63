"""Where a figure goes: the end of a file's name says what is written, and nothing else is written there."""

import os
from pathlib import Path

from .. import _disk

PAGES = (".html", ".htm")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")

Name = str | os.PathLike[str]


def ending(path: Name) -> str:
    """What a file's name ends in, in small letters."""
    return Path(path).suffix.lower()


def check_page(path: Name) -> Path:
    """Checks that a page can be written under a name. Call it before a long computation.

    **Returns:** the path.

    **Raises:** ValueError where the name does not end in `.html` or `.htm`, FileNotFoundError where its folder does
    not exist.

    ```python
    path = ji.viz.check_page("report.html")
    ```
    """
    path = Path(path)
    if ending(path) not in PAGES:
        also = (
            " Single figures are saved as pictures: figure.save('figure.png')."
            if ending(path) in PICTURES
            else ""
        )
        raise ValueError(
            f"A page of text and figures is HTML, and {path.name!r} is named otherwise. Write it to {str(path.with_suffix('.html'))!r}.{also}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} into. Create it first."
        )
    return path


def check_folder(path: Name) -> Path:
    """A name for a folder. Raises `ValueError` where it is that of a page or a picture."""
    if ending(path) in (*PAGES, *PICTURES):
        raise ValueError(
            f"A folder of files is written, and {Path(path).name!r} is the name of one file. Give a folder: {str(Path(path).with_suffix(''))!r}."
        )
    return Path(path)


def write_whole(path: Name, content: bytes) -> Path:
    """Writes a file by renaming a finished one into place, so that no reader sees half of it."""
    path = check_parent(path)
    _disk.write_whole(path, content)
    return path


def check_parent(path: Name) -> Path:
    """A name in a folder that is there."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} into. Create it first."
        )
    return path
