"""A whole model in one file, config and tokenizer included: what the readers of such files give."""

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._errors import listed
from ._port import all_ports
from ._tensors import LazyTensor
from ._tokenizer import Tokenizer

SUFFIXES = (".gguf", ".bin", ".data")


@dataclasses.dataclass(frozen=True)
class SingleFile:
    """An opened file: its header is read, its weights are not.

    `layout` and `family` say which port reads it, `theirs` is the config in the port's keys.
    """

    path: Path
    layout: str
    family: str
    theirs: Mapping[str, Any]
    tensors: dict[str, LazyTensor]
    format: str
    tokenizer: Callable[[], Tokenizer | None]
    licence: str | None = None

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def open_single_file(path: Path) -> SingleFile:
    """A `.gguf` file, or one of llama2.c (`.bin`, `.data`)."""
    if path.suffix == ".gguf":
        from ._gguf import open_gguf

        return open_gguf(path)
    from ._llama2c import open_llama2c

    return open_llama2c(path)


def lone_gguf(folder: Path) -> Path | None:
    """The one `.gguf` file of a folder; None where there is none.

    Raises `ValueError` when there are several.
    """
    found = sorted(folder.glob("*.gguf"))
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds {len(found)} GGUF files ({listed(path.name for path in found)}): say "
            f"which, ji.load({str(found[0])!r})."
        )
    return found[0] if found else None


@dataclasses.dataclass(frozen=True)
class Packaged:
    """A model file inside an installed Python package, and what it is."""

    path: Path
    version: str
    what: str


def packaged(name: str) -> Packaged | None:
    """The file of an installed package that a short name stands for (`[source.packages]`), or None."""
    for layout in ("gguf",):
        for port in all_ports(layout).values():
            entry = port.source.get("packages", {}).get(name.lower())
            spec = importlib.util.find_spec(entry["module"]) if entry else None
            if spec is None or spec.origin is None:
                continue
            path = Path(spec.origin).parent / entry["file"]
            if path.is_file():
                version = importlib.metadata.version(entry["package"])
                return Packaged(path, version, f"{entry['what']} ({entry['package']} {version})")
    return None
