"""Models inside installed Python packages, by the short names of the ports."""

import dataclasses
import importlib.metadata
import importlib.util
from pathlib import Path

from ._ports import all_ports


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
