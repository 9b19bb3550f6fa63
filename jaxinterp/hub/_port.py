"""A port: one table (`ports/*.toml`) that says how a family's checkpoints become our model.

A row of `[weights]` is our leaf, the checkpoint's name for it, and an einops pattern from their
layout to ours. Rows are bijections: the same row reads and writes.

    "blocks.attn.w_{q,k,v}" = ["h.{layer}.attn.c_attn.weight", "d (qkv head k) -> qkv head d k"]

`{layer}` in the name runs over the blocks, and the tensors are stacked on a leading layer axis.
`{q,k,v}` in the leaf spreads the first axis of the right-hand side over several leaves.
"""

import dataclasses
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import einops
import numpy as np

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


def find_ports() -> Path:
    """The folder of port tables: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_ports", package.parent / "ports"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"The port tables are neither in {package / '_ports'} nor in {package.parent / 'ports'}: "
        "the installation is incomplete; install jaxinterp again."
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a port: `leaf` of ours, `name` of theirs, `pattern` from theirs to ours."""

    leaf: str
    name: str
    pattern: str
    sizes: Mapping[str, int]

    @property
    def leaves(self) -> tuple[str, ...]:
        """The leaves that share this tensor: one, or those that `{a,b}` spells out."""
        spread = re.fullmatch(r"(.*)\{([\w,]+)\}(.*)", self.leaf)
        if spread is None:
            return (self.leaf,)
        return tuple(f"{spread[1]}{part}{spread[3]}" for part in spread[2].split(","))

    @property
    def stacked(self) -> bool:
        """Whether their name runs over the layers, one tensor each."""
        return "{layer}" in self.name

    def name_of(self, layer: int) -> str:
        return self.name.replace("{layer}", str(layer))

    def axes(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The size of every axis in the pattern, for a leaf of `shape` (a single layer of it)."""
        sizes = dict(self.sizes)
        theirs, ours = map(_groups, self.pattern.split("->"))
        full = ((len(self.leaves),) if len(self.leaves) > 1 else ()) + tuple(shape)
        if len(ours) != len(full):
            raise ValueError(
                f"Port row {self.leaf!r}: the pattern {self.pattern!r} makes {len(ours)} axes, and "
                f"the leaf has {len(full)} {full}."
            )
        for group, size in zip(ours, full, strict=True):
            unknown = [axis for axis in group if axis not in sizes]
            rest = size
            for axis in group:
                rest = rest // sizes[axis] if axis in sizes else rest
            if len(unknown) == 1:
                sizes[unknown[0]] = rest
            elif unknown:
                raise ValueError(f"Port row {self.leaf!r}: give the sizes of {listed(unknown)}.")
        if {axis for group in theirs for axis in group} - set(sizes):
            raise ValueError(f"Port row {self.leaf!r}: {self.pattern!r} has axes on one side only.")
        return sizes

    def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of their tensor for a leaf of ours."""
        sizes = self.axes(shape)
        theirs = _groups(self.pattern.split("->")[0])
        return tuple(int(np.prod([sizes[axis] for axis in group], dtype=int)) for group in theirs)

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Their tensor as our leaves (views where that is possible)."""
        y = einops.rearrange(theirs, self.pattern, **self.axes(shape))
        return list(y) if len(self.leaves) > 1 else [y]

    def to_theirs(self, ours: list[np.ndarray]) -> np.ndarray:
        """Our leaves as their tensor: the inverse of `to_ours`, bit for bit."""
        left, right = (side.strip() for side in self.pattern.split("->"))
        sizes = self.axes(ours[0].shape)
        return einops.rearrange(
            np.stack(ours) if len(self.leaves) > 1 else ours[0], f"{right} -> {left}", **sizes
        )


def _groups(side: str) -> list[list[str]]:
    return [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\w+", side)]


@dataclasses.dataclass(frozen=True)
class Port:
    """A family's table, read: see `ports/README.md` for the meaning of every entry."""

    family: str
    path: Path
    source: Mapping[str, Any]
    config: Mapping[str, Any]
    names: Mapping[str, Any]
    rows: tuple[Row, ...]
    flax: tuple[Row, ...]
    layout: str = "huggingface"

    @property
    def config_is(self) -> str:
        """Where this layout says the config, in words."""
        says = {"gguf": "the file's metadata", "llama2c": "the file's header"}
        return says.get(self.layout, "config.json")

    @property
    def model(self) -> str:
        return self.config["model"]

    def ignoring(self, *keys: str) -> "Port":
        """The port with more keys that have no effect on the forward pass (`*` matches anything).

        Raises `ValueError` for a key that the port reads: without it another model would load.
        """
        for key in keys:
            if read := [known for known in self.config["keys"] if fnmatchcase(known, key)]:
                raise ValueError(
                    f"`ignore` is for keys without an effect on the forward pass; {key!r} is or "
                    f"matches {listed(read)}, which the port of {self.family} reads. Correct "
                    f"{self.config_is} in place of ignoring it."
                )
        config = {**self.config, "ignore": [*self.config["ignore"], *keys]}
        return dataclasses.replace(self, config=config)


if TYPE_CHECKING:
    PortLike: TypeAlias = Port | PathLike
    "A port, or the path of its table."
else:
    PortLike = Any


def read_port(path: PathLike) -> Port:
    """The port in a TOML file.

    Raises `ValueError` when the table lacks a part or a row is not `[name, pattern]`.
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


def as_port(port: PortLike) -> Port:
    """A port as it is, or read from its table."""
    return port if isinstance(port, Port) else read_port(port)


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


def _check_known(path: Path, what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raises for a part that nothing reads: misspelled, it would be passed over in silence."""
    for part in given:
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


def all_ports(layout: str = "huggingface") -> dict[str, Port]:
    """Every family that comes with the package, by the name that its checkpoints give it.

    `layout` is "huggingface" (by `model_type` of `config.json`), "gguf" (by
    `general.architecture`) or "llama2c".
    """
    ports = [read_port(p) for p in sorted(find_ports().glob("*.toml")) if p.stem[0] != "_"]
    return {port.family: port for port in ports if port.layout == layout}


def short_names() -> dict[str, str]:
    """The short names that `load` knows, and the hub ids they stand for."""
    return {
        short: hub_id
        for port in all_ports().values()
        for short, hub_id in port.source.get("names", {}).items()
    }
