"""Opens a file that is a whole model: the reader is chosen by the end of its name."""

from pathlib import Path

from ._errors import listed
from ._gguf import open_gguf
from ._llama2c import open_llama2c
from ._single_file import SingleFile

SUFFIXES = (".gguf", ".bin", ".data")


def open_single_file(path: Path) -> SingleFile:
    """A `.gguf` file, or one of llama2.c (`.bin`, `.data`)."""
    if path.suffix == ".gguf":
        return open_gguf(path)
    return open_llama2c(path)


def lone_gguf(folder: Path) -> Path | None:
    """The one `.gguf` file of a folder; None where there is none.

    Raises `ValueError` when there are several.
    """
    files = sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        raise ValueError(
            f"{folder} holds {len(files)} GGUF files ({listed(path.name for path in files)}): say "
            f"which, ji.load({str(files[0])!r})."
        )
    return files[0] if files else None
