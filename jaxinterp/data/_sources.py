"""Files that hold texts, by their names, in folders, packed or not. One warning names the files left out."""

import gzip
import lzma
import warnings
import zlib
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from .._read import regular

PLAIN = ".txt"
TABLES = (".jsonl", ".csv", ".tsv", ".parquet")
PACKED = {".xz": lzma.open, ".gz": gzip.open}
DAMAGED = (UnicodeDecodeError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError)
MAX_BYTES = 2**25
"""The most bytes of one document, unless more is allowed: a line, a cell, or what stands between separators."""
READ = f"{PLAIN}, {', '.join(TABLES[:-1])}, each also .xz or .gz, and {TABLES[-1]}"


def files(paths: Iterable[Any]) -> list[Path]:
    """The files with texts among the paths and in their folders; a warning names the others."""
    found: list[Path] = []
    left: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
            texts = [p for p in inside if p.is_file() and kind(p)]
            if not texts:
                raise ValueError(
                    f"{path} holds no text: one file per class is wanted, such as de.txt and fr.txt "
                    f"({READ}){_and_has(inside)}. Folders inside of it are not read."
                )
            found += texts
            left += [p for p in inside if p not in texts]
        elif not path.is_file():
            raise FileNotFoundError(f"There is no file or folder {path} to read texts from.")
        elif not kind(path):
            raise ValueError(
                f"{path} is no text that can be read: {READ}. The rows of any other table are read by "
                "ji.data.documents(rows, text='text', label='label'), where rows are dicts."
            )
        else:
            found.append(path)
    if left:
        warnings.warn(
            f"No texts are read from {_named(left)}: files of texts are {READ}, and folders are given one by one.",
            stacklevel=3,
        )
    return found


def kind(path: Path) -> str:
    """`.txt`, `.jsonl`, `.csv`, `.tsv`, `.parquet`, or nothing for other files; capitals count as small letters."""
    packed = path.suffix.lower() in PACKED
    inner = (Path(path.stem) if packed else path).suffix.lower()
    texts = (PLAIN, *TABLES[:-1]) if packed else (PLAIN, *TABLES)
    return inner if inner in texts else ""


def opened(path: Path, newline: str | None = None) -> TextIOWrapper:
    """A file as text, unpacked, without the byte-order mark that some editors put first."""
    regular(path)
    how: Any = PACKED.get(path.suffix.lower(), open)
    return how(path, "rt", encoding="utf-8-sig", newline=newline)


def lines(path: Path, file: TextIOWrapper, max_bytes: int) -> Iterator[str]:
    """The lines of a file, each of at most so many characters, with their line breaks."""
    number = 0
    while line := file.readline(max_bytes + 1):
        number += 1
        if len(line) > max_bytes:
            raise too_long(path, f"line {number}", max_bytes)
        yield line


def too_long(path: Path, what: str, max_bytes: int) -> ValueError:
    return ValueError(
        f"{path}: {what} has more than {max_bytes:,} bytes, the most that one document may have. Where "
        f"that is right: ji.data.read_texts(..., max_bytes={4 * max_bytes})."
    )


def damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is no UTF-8 text, or its compression is damaged ({error}).")


def _and_has(inside: list[Path]) -> str:
    return f"; it has {_named(inside)}" if inside else ""


def _named(paths: list[Path]) -> str:
    names = [f"{p.name}/" if p.is_dir() else p.name for p in paths]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
