"""Machine code of a TPU's kernels, as the compiler dumps it: how many cycles its schedule takes.

A bundle is what one cycle issues. The text marks every bundle with the depth of the loop around it, so
the cycles of a kernel are its bundles, times the turns of the loops around them. Waiting for transfers
is not in it. A branch counts as taken where it depends on counters, as in a kernel that skips blocks: there
the number is an upper bound. What is run for rare data alone (ties) counts as left out.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

BUNDLE = re.compile(r"^\s*(?:0x)?[0-9a-f]+\s+(LH|LB|LE|PB|PF|CT)?\s*:\s*([>\s]*)\{(.*)$")
PHI = re.compile(r"%(s\w+) = sphi %(s\w+), %(s\w+)")
MOVE = re.compile(r"%(s\w+) = smov (?:\(!?%p\w+\), )?(%s\w+|-?\d+)(?=\s|$)")
ADD = re.compile(r"%(s\w+) = sadd\.s32 (?:\(!?%p\w+\), )?(-?\d+), %(s\w+)")
TEST = re.compile(
    r"= scmp\.(ge|gt|eq|ne|lt|le)\.s32\.totalorder (?:\(!?%p\w+\), )?%(s\w+), (%?\w+)( /\* loop exit)?"
)
DATA = re.compile(r"%(p\w+) = scmp\.\w+\.f32\.partialorder")  # a number that came out of vectors
BRANCH = re.compile(r"sbr\.rel \(!?%(p\w+)\) target = \$region(\d+)")
REGION = re.compile(r"region (\d+)\b")
ROWS = {"bf16": 16, "f32": 8, "s8": 32, "u8": 32}
PRODUCT = re.compile(r"vmatmul\.(?:msk\.)?(\w+)[\w.]*mxu(\d)")


class Kernel(NamedTuple):
    """What one kernel takes.

    - `cycles`: the larger of its bundles and of the rows that its busiest matrix unit takes.
    - `is_counted`: False where a loop has no turns that can be read.
    """

    cycles: float
    is_counted: bool


class Loop:
    """A loop of a kernel, or the kernel itself: what stands in it and in no loop inside."""

    def __init__(self, depth: int) -> None:
        self.depth, self.bundles, self.text = depth, 0, ""
        self.rows = [0.0] * 8
        self.inner: list[Loop] = []


def read_kernels(folder: Path) -> dict[str, Kernel]:
    """The kernels of a program by the names of their instructions; equal ones share one machine code."""
    found: dict[str, Kernel] = {}
    shared: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        name = path.name
        if name.endswith("deduplication-map.txt"):
            for block in re.split(r"^key:", path.read_text(), flags=re.M)[1:]:
                first, _, rest = block.partition("\n")
                shared[first.strip()] = re.findall(r"^  (\S+)$", rest, flags=re.M)
        elif re.search(r"-\d+-final_bundles\.txt$", name):
            key = re.sub(r"^\d+-(.*)-\d+-final_bundles\.txt$", r"\1", name)
            if key != "TLP" and not key.startswith("<"):
                with path.open(errors="replace") as file:
                    found[key] = cycles(file)
    for first, equal in shared.items():
        if first in found:
            found |= dict.fromkeys(equal, found[first])
    return found


def cycles(lines: Iterable[str]) -> Kernel:
    """The cycles of one kernel from the lines of its text."""
    whole = Loop(0)
    opened, scalars = [whole], []
    seen: set[str] = set()
    of_data: set[str] = set()
    end: str | None = None  # the region after what is left out
    for line in lines:
        bundle = BUNDLE.match(line)
        if not bundle:
            continue
        marker, depth, text = bundle[1], bundle[2].count(">"), bundle[3]
        regions = set(REGION.findall(text))
        seen |= regions
        if end is not None and end not in regions:
            scalars.append(text if "= s" in text else "")
            continue
        end = None
        is_empty = text.startswith("}")  # after a branch, and without a depth
        while not is_empty and len(opened) > 1 and depth < opened[-1].depth:
            opened.pop()
        while marker == "LB" and len(opened) > 1 and depth <= opened[-1].depth:
            opened.pop()
        if marker == "LB":
            opened.append(Loop(depth))
            opened[-2].inner.append(opened[-1])
        loop = opened[-1]
        loop.bundles += 1
        if "mxu" in text:
            for kind, unit in PRODUCT.findall(text):
                loop.rows[int(unit)] += ROWS.get(kind, 8)
        if "= s" in text:
            scalars.append(text)
            loop.text += text if "sphi" in text else ""
            of_data |= set(DATA.findall(text))
        if (
            "sbr" in text
            and (branch := BRANCH.search(text))
            and branch[1] in of_data
            and branch[2] not in seen
        ):
            end = branch[2]
    tables = Tables("\n".join(scalars))
    total, rows, is_counted = _sum(whole, tables)
    return Kernel(max(total, *rows), is_counted)


def _sum(loop: Loop, tables: "Tables") -> tuple[float, list[float], bool]:
    """Bundles and rows of a loop in one turn, the loops inside times their turns."""
    total, rows, is_counted = float(loop.bundles), list(loop.rows), True
    for inner in loop.inner:
        turns = tables.turns(inner)
        more, more_rows, known = _sum(inner, tables)
        total += (turns or 1) * more
        rows = [a + (turns or 1) * b for a, b in zip(rows, more_rows, strict=True)]
        is_counted &= known and turns is not None
    return total, rows, is_counted


class Tables:
    """Scalars of a kernel by name: what they are moved from, added from and compared with."""

    def __init__(self, text: str) -> None:
        self.moved = {name: source.lstrip("%") for name, source in MOVE.findall(text)}
        self.added = {name: (int(step), of) for name, step, of in ADD.findall(text)}
        self.tests: dict[str, list[tuple[str, str, str, bool]]] = {}
        for how, counter, bound, comment in TEST.findall(text):
            step, of = self.added.get(counter, (0, counter))
            if step > 0:
                self.tests.setdefault(of, []).append((how, bound.lstrip("%"), str(step), bool(comment)))

    def turns(self, loop: Loop) -> int | None:
        """How often a loop runs, from its counter, its step and the test that ends it."""
        ends: list[tuple[bool, int]] = []
        for name, first, _ in PHI.findall(loop.text):
            start = self._number(first)
            for how, bound, step, is_exit in self.tests.get(name, ()):
                limit = self._number(bound)
                if start is None or limit is None or how not in ("ge", "eq"):
                    continue
                ends.append((is_exit, -(-(limit - start) // int(step))))
        ends = [end for end in ends if 0 < end[1] < 2**31]
        said = [turns for is_exit, turns in ends if is_exit]
        return max(said or [turns for _, turns in ends], default=None)

    def _number(self, name: str) -> int | None:
        """The constant that a scalar holds, through moves."""
        for _ in range(8):
            if re.fullmatch(r"-?\d+", name):
                return int(name)
            if name not in self.moved:
                return None
            name = self.moved[name]
        return None
