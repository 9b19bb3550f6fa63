"""Machine code of a TPU's kernels, as the compiler dumps it: how many cycles its schedule takes.

A bundle is what one cycle issues. The text marks every bundle with the depth of the loop around it, so
the cycles of a kernel are its bundles, times the turns of the loops around them. Waiting for transfers
is not in it. A branch counts as taken: where a kernel skips blocks, the number is an upper bound.
"""

import re
from pathlib import Path
from typing import NamedTuple

BUNDLE = re.compile(r"^\s*(?:0x)?[0-9a-f]+\s+(LH|LB|LE|PB|PF|CT)?\s*:\s*([>\s]*)\{(.*)$")
PHI = re.compile(r"%(s\w+) = sphi %(s\w+), %(s\w+)")
MOVE = re.compile(r"%(s\w+) = smov (%s\w+|-?\d+)(?=\s|$)")
ADD = re.compile(r"%(s\w+) = sadd\.s32 (-?\d+), %(s\w+)")
TEST = re.compile(r"%(p\w+) = scmp\.(ge|gt|eq|ne|lt|le)\.s32\.totalorder %(s\w+), (%?\w+)")
BRANCH = re.compile(r"sbr\.rel \(!?%(p\w+)\)")
ROWS = {"bf16": 16, "f32": 8, "s8": 32, "u8": 32}
PRODUCT = re.compile(r"vmatmul\.(?:msk\.)?(\w+)[\w.]*mxu(\d)")


class Kernel(NamedTuple):
    """What one kernel takes.

    - `cycles`: the larger of its bundles and of the rows that its busiest matrix unit takes.
    - `is_counted`: False where a loop has no turns that can be read.
    """

    cycles: float
    is_counted: bool


class _Loop:
    def __init__(self, depth: int) -> None:
        self.depth, self.bundles, self.lines = depth, 0, []
        self.rows = [0.0] * 8
        self.inner: list[tuple[float, list[float], bool]] = []


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


def cycles(lines: object) -> Kernel:
    """The cycles of one kernel from the lines of its text."""
    whole = _Loop(0)
    open_loops, values = [whole], {}
    for line in lines:  # type: ignore[attr-defined]
        bundle = BUNDLE.match(line)
        if not bundle:
            continue
        marker, depth, text = bundle[1], bundle[2].count(">"), bundle[3]
        is_empty = text.startswith("}")  # after a branch, and without a depth
        while not is_empty and len(open_loops) > 1 and depth < open_loops[-1].depth:
            _close(open_loops, values)
        if marker == "LB":
            while len(open_loops) > 1 and depth <= open_loops[-1].depth:
                _close(open_loops, values)
            open_loops.append(_Loop(depth))
        loop = open_loops[-1]
        loop.bundles += 1
        if "mxu" in text:
            for kind, unit in PRODUCT.findall(text):
                loop.rows[int(unit)] += ROWS.get(kind, 8)
        if "= s" in text or "sbr" in text:
            loop.lines.append(text)
            values.update(MOVE.findall(text))
    while len(open_loops) > 1:
        _close(open_loops, values)
    total, rows, counted = _sum(whole)
    return Kernel(max(total, *rows), counted)


def _sum(loop: _Loop) -> tuple[float, list[float], bool]:
    total, rows, counted = float(loop.bundles), list(loop.rows), True
    for inner, inner_rows, known in loop.inner:
        total += inner
        rows = [a + b for a, b in zip(rows, inner_rows, strict=True)]
        counted &= known
    return total, rows, counted


def _close(loops: list[_Loop], values: dict[str, str]) -> None:
    """Ends the innermost loop: what it holds, times its turns, goes to the loop around it."""
    loop = loops.pop()
    turns = _turns(loop, values)
    total, rows, counted = _sum(loop)
    n = turns or 1
    loops[-1].inner.append((n * total, [n * row for row in rows], counted and turns is not None))


def _turns(loop: _Loop, values: dict[str, str]) -> int | None:
    """How often a loop runs, from its counter, its step and the test that ends it."""
    text = "\n".join(loop.lines)
    steps = {name: (int(step), of) for name, step, of in ADD.findall(text)}
    starts = {name: first for name, first, _ in PHI.findall(text)}
    ends = []
    for _, how, counter, bound in TEST.findall(text):
        limit = _number(bound.lstrip("%"), values) if bound.startswith("%") else _integer(bound)
        step, phi = steps.get(counter, (0, counter))
        if limit is None or phi not in starts or not step:
            continue
        start = _number(starts[phi], values)
        if start is not None and step:
            ends.append((how, -(-(limit - start) // step)))
    whole = [n for how, n in ends if how in ("ge", "eq") and n > 0]
    return max(whole, default=None) or max((n for _, n in ends if n > 0), default=None)


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _number(name: str, values: dict[str, str]) -> int | None:
    """The constant that a scalar register holds, through moves."""
    for _ in range(8):
        if (number := _integer(name)) is not None:
            return number
        if name not in values:
            return None
        name = values[name].lstrip("%")
    return None
