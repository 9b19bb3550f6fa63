"""An optimised HLO module as text, read into computations and instructions; sizes of shapes in HBM."""

import math
import re
from functools import cached_property
from typing import NamedTuple

WIDTHS = {
    "pred": 1,
    **{f"{sign}{bits}": bits / 8 for sign in "su" for bits in (2, 4, 8, 16, 32, 64)},
    "bf16": 2,
    "f16": 2,
    "f32": 4,
    "f64": 8,
    "c64": 8,
    "c128": 16,
    **dict.fromkeys(("f8e4m3fn", "f8e5m2", "f8e4m3b11fnuz", "f8e4m3", "f8e5m2fnuz"), 1),
}
ARRAY = re.compile(r"\b([a-z]\w*)\[([^\]]*)\](?:\{([^{}]*)\})?")
OPENING = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{\s*$")
ASSIGNMENT = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = (.*)$")
NAME = re.compile(r"%([\w.\-]+)")


class Instruction:
    """One line of a computation.

    - `name`, `shape`, `op`; `inside` is the text between the brackets, `rest` that after them.
    """

    def __init__(self, name: str, text: str, is_root: bool) -> None:
        end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
        self.name, self.shape, self.is_root = name, text[:end], is_root
        text = text[end:].lstrip()
        opening = text.index("(")
        closing = opening + _closing(text[opening:])
        self.op, self.inside, self.rest = text[:opening], text[opening + 1 : closing], text[closing + 1 :]

    @cached_property
    def operands(self) -> list[str]:
        return NAME.findall(self.inside)

    def find(self, pattern: str) -> str | None:
        """The first group of a pattern in the attributes."""
        found = re.search(pattern, self.rest)
        return found[1] if found else None

    def called(self, attribute: str) -> str | None:
        """The name of the computation that an attribute names."""
        return self.find(attribute + r"=%([\w.\-]+)")

    @property
    def label(self) -> str:
        """Where it comes from in the traced function."""
        return self.find(r'op_name="([^"]*)"') or ""

    @property
    def target(self) -> str | None:
        """Of a custom call, what it calls."""
        return self.find(r'custom_call_target="([^"]*)"')


class Module(NamedTuple):
    """Computations by name, and the name of the first one."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


def read(text: str) -> Module:
    """The computations of a module's text."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", {}
    for line in text.splitlines():
        if opened := OPENING.match(line):
            current = computations.setdefault(opened[2], {})
            entry = opened[2] if opened[1] else entry
        elif assigned := ASSIGNMENT.match(line):
            current[assigned[2]] = Instruction(assigned[2], assigned[3], bool(assigned[1]))
    return Module(computations, entry)


def _closing(text: str) -> int:
    """Where the bracket that opens a text is closed."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return at
    return len(text)


def size(shape: str, *, anywhere: bool = False) -> int:
    """Bytes of a shape as tiled; arrays outside HBM count only with `anywhere`."""
    total = 0
    for kind, extents, layout in ARRAY.findall(shape):
        if kind not in WIDTHS or (not anywhere and re.search(r"S\([1-9]", layout)):
            continue
        sides = [int(re.sub(r"\D", "", side) or 0) for side in extents.split(",") if side.strip()]
        order, _, rest = layout.partition(":")
        axes = [int(axis) for axis in order.split(",") if axis.strip().isdigit()]
        tile = re.match(r"T\(([\d,]+)\)", rest)
        if tile and len(axes) == len(sides):
            for edge, axis in zip(reversed(tile[1].split(",")), axes, strict=False):
                sides[axis] = -(-sides[axis] // int(edge)) * int(edge)
        total += math.prod(sides) * WIDTHS[kind]
    return int(total)


def elements(shape: str) -> list[int]:
    """The extents of the first array of a shape, without tiles."""
    found = ARRAY.search(shape)
    return [int(side) for side in re.findall(r"\d+", found[2])] if found else []
