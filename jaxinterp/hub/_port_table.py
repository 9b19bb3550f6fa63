"""Reads a port from its TOML file, and checks every part of it."""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .._read import (
    SIZE,
    TABLE,
    TEXT,
    Rule,
    check,
    list_of,
    one_of,
    or_null,
    read_text,
    shown,
    table_of,
)
from ..typing import PathLike
from ._errors import listed, near
from ._port import Port
from ._port_folder import find_ports
from ._port_row import Row

MAX_BYTES = 2**20
_LIST = Rule("a list of texts", list_of(TEXT).holds, TEXT)
PARTS: dict[str, Rule] = {
    "source": TABLE,
    "config": TABLE,
    "weights": TABLE,
    "names": TABLE,
    "flax": TABLE,
}
SOURCE = {
    "family": TEXT,
    "layout": one_of("huggingface", "gguf", "llama2c"),
    "licence": or_null(TEXT),
    "names": table_of(TEXT),
    "packages": table_of(table_of(TEXT)),
}
NAMES = {
    "prefix": TEXT,
    "tied": table_of(TEXT),
    "also": table_of(TEXT),
    "ignore": _LIST,
    "optional": _LIST,
}
CONFIG = {
    "model": TEXT,
    "architectures": _LIST,
    "ignore": _LIST,
    "required": _LIST,
    "include": TEXT,
    "keys": table_of(TEXT),
    "defaults": TABLE,
    "kinds": table_of(table_of(_LIST)),
    "fallback": table_of(TEXT),
}


def read_port(path: PathLike) -> Port:
    """Reads the port in a TOML file.

    **Raises:** `ValueError` when the table lacks a part, or when a row is not `[name, pattern]`.

    ```python
    port = ji.hub.read_port("my_port.toml")
    port.family, port.model
    ```
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no port table {path}; see ports/README.md for one.")
    table = _read_table(path)
    for part in ("source", "config", "weights"):
        if part not in table:
            raise ValueError(f"A port has [source], [config] and [weights]; {path} lacks [{part}].")
    _check_known(path, "A port", table, ("source", "config", "names", "weights", "flax"))
    _check_known(path, "[names]", table.get("names", {}), NAMES)
    check(path, table, PARTS)
    check(f"{path}, [source]", table["source"], SOURCE)
    check(f"{path}, [names]", table.get("names", {}), NAMES)
    check(f"{path}, [config]", table["config"], CONFIG)
    config = {"ignore": [], "keys": {}, **table["config"]}
    if "include" in config:
        include = _included(path, config["include"])
        shared = check(include, _read_table(include), PARTS).get("config", {})
        check(f"{include}, [config]", shared, CONFIG)
        config["ignore"] = [*config["ignore"], *shared.get("ignore", [])]
        config["defaults"] = shared.get("defaults", {}) | config.get("defaults", {})
    _check_config(path, config)
    return Port(
        family=table["source"].get("family", path.stem),
        path=path,
        source=table["source"],
        config=config,
        names=table.get("names", {}),
        rows=_rows(path, table["weights"]),
        flax=_rows(path, table.get("flax", {})),
        layout=table["source"].get("layout", "huggingface"),
    )


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, max_bytes=MAX_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} is not TOML ({error}); see ports/README.md.") from error


def _included(path: Path, name: str) -> Path:
    """The table that another includes: beside it, or else one of the package's own."""
    if Path(name).name != name:
        raise ValueError(f"{path}: [config] include names a table beside it, no path; got {name!r}.")
    places = path.parent / name, find_ports() / name
    for place in places:
        if place.is_file():
            return place
    own = sorted(p.name for p in find_ports().glob("*.toml"))
    raise FileNotFoundError(
        f"{path} includes {name!r}, which is neither beside it nor one of the package's tables: "
        f"{', '.join(own)}."
    )


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Parts of `[config]` without which nothing can be read."""
    examples = {
        "model": 'model = "GPT2"',
        "architectures": 'architectures = ["GPT2LMHeadModel"], what config.json may call itself, or [] '
        "where it says none",
    }
    for part, example in examples.items():
        if part not in config:
            raise ValueError(f"{path}: [config] lacks `{part}`. Give {example}.")
    for key, field in config["keys"].items():
        outer, _, inner = field.rpartition(".")
        if field.count(".") > 1 or field[:1] == "." or field[-1:] == ".":
            raise ValueError(f"{path}: {key!r} = {field!r} is no field, nor `part.field`.")
        if inner and outer and outer not in config.get("kinds", {}):
            raise ValueError(
                f"{path}: {key!r} = {field!r} is a field of a nested part, which needs a table "
                f"[config.kinds.{outer}]: for each kind the fields that it reads."
            )


def _check_known(path: Path, what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises for a part that nothing reads: misspelled, it would be passed over in silence."""
    for part in names:
        if part not in known:
            raise ValueError(f"{path}: {what} has no {part!r}{near(part, known)}; there are {listed(known)}.")


def _rows(path: Path, table: Mapping[str, Any]) -> tuple[Row, ...]:
    def rows() -> Iterator[Row]:
        for leaf, row in table.items():
            if isinstance(row, list) and len(row) > 1 and str(row[1]).count("->") != 1:
                raise ValueError(
                    f"{path}: the pattern of {leaf!r} goes from their axes to ours, as in "
                    f'"vocab d -> d vocab"; got {row[1]!r}.'
                )
            match row:
                case [str(name), str(pattern)]:
                    yield Row(leaf, name, pattern, {})
                case [str(name), str(pattern), {**sizes}]:
                    check(f"{path}: the sizes of {leaf!r}", sizes, dict.fromkeys(sizes, SIZE))
                    yield Row(leaf, name, pattern, sizes)
                case _:
                    raise ValueError(
                        f"{path}: a row is LEAF = [NAME, PATTERN] or [NAME, PATTERN, SIZES]; got "
                        f"{leaf!r} = {shown(row)}."
                    )

    return tuple(rows())
