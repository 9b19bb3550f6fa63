"""What the instructions of an optimised module take, loops times their turns.

Three numbers come from every instruction: the compiler's own `estimated_cycles`, the bytes that it moves
between HBM and the chip, and the cycles of its machine code. Of a conditional the dearest branch counts.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from .bundles import Kernel
from .compiler import Chip
from .hlo import Instruction, Module, size

FREE = frozenset(
    [
        "parameter",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "constant",
        "after-all",
        "iota",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "async-update",
    ]
)
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
WITHOUT_ESTIMATE = frozenset(
    ["sort", "custom-call", "scatter", "gather", "cholesky", "triangular-solve", "fft"]
)
BOOKKEEPING = frozenset(
    [
        "AllocateBuffer",
        "Sharding",
        "SPMDFullToShardShape",
        "SPMDShardToFullShape",
        "ConcatBitcast",
        "AssumeGatherIndicesInBound",
    ]
)
SLICES = ("dynamic-slice", "slice", "gather")
MOVES = ("copy", "bitcast", "copy-start", "copy-done")


class Part(NamedTuple):
    """One instruction in a program: all of its turns together.

    - `estimate`, `schedule`: in seconds; `moved`: bytes to and from HBM; `turns`: how often it runs.
    """

    name: str
    label: str
    shape: str
    turns: float
    estimate: float
    schedule: float
    moved: float


class Cost:
    """The sums over a module.

    - `kernels`: machine code by the names of instructions, from `bundles`; empty where none was kept.
    - `turns`: of loops whose turns cannot be read, by a part of their label; `""` names all others.
    """

    def __init__(self, module: Module, kernels: Mapping[str, Kernel], turns: Mapping[str, float]) -> None:
        self.module, self.kernels, self.given = module, kernels, turns
        self.parts: list[Part] = []
        self.collectives: Counter[str] = Counter()
        self.collective_bytes: Counter[str] = Counter()
        self.unpriced: Counter[str] = Counter()
        self.uncounted: Counter[str] = Counter()  # kernels of whose loops neither number knows the turns
        self.unknown_loops: list[str] = []
        self._visit(module.entry, 1.0)

    @property
    def moved(self) -> float:
        """Bytes to and from HBM."""
        return sum(part.moved for part in self.parts)

    @property
    def estimate(self) -> float:
        """Seconds by the compiler's estimate of each fusion, no less than its transfers take in all."""
        return max(sum(part.estimate for part in self.parts), self.moved / Chip.hbm_bytes_per_second)

    @property
    def schedule(self) -> float:
        """Seconds by the larger of machine code and transfers of each kernel; copies run beside them."""
        return max(sum(part.schedule for part in self.parts), self.moved / Chip.hbm_bytes_per_second)

    def _visit(self, name: str, turns: float) -> None:
        computation = self.module.computations[name]
        for one in computation.values():
            if one.op == "while":
                body = one.called("body")
                assert body is not None
                self._visit(body, turns * self._turns(one, computation))
            elif one.op == "conditional":
                self._dearest(one, turns)
            elif one.op == "call":
                self._visit(one.called("to_apply") or "", turns)
            elif one.op not in FREE and not one.op.endswith("-done"):
                self._count(one, computation, turns)

    def _dearest(self, one: Instruction, turns: float) -> None:
        names = re.findall(r"(?:true|false)_computation=%([\w.\-]+)", one.rest)
        listed = one.find(r"branch_computations=\{([^}]*)\}")
        names += re.findall(r"%([\w.\-]+)", listed or "")
        branches = []
        for name in names:
            branch = Cost(Module(self.module.computations, name), self.kernels, self.given)
            branches.append(branch)
        best = max(branches, key=lambda branch: (branch.estimate, branch.schedule))
        for part in best.parts:
            scaled = [turns * value for value in part[3:]]
            self.parts.append(Part(*part[:3], *scaled))
        for mine, theirs in (
            (self.collectives, best.collectives),
            (self.collective_bytes, best.collective_bytes),
            (self.unpriced, best.unpriced),
            (self.uncounted, best.uncounted),
        ):
            for key, value in theirs.items():
                mine[key] += turns * value  # type: ignore[assignment]
        self.unknown_loops += best.unknown_loops

    def _count(self, one: Instruction, around: Mapping[str, Instruction], turns: float) -> None:
        inner = self.module.computations.get(one.called("calls") or "", {})
        for kind in COLLECTIVES:
            fused = any(i.op.startswith(kind) for i in inner.values())
            # Of one that runs beside other fusions only the last has the result alone; it counts.
            if one.op.startswith(kind) or (fused and not one.shape.startswith("(")):
                self.collectives[kind] += turns  # type: ignore[assignment]
                moved = size(one.shape, anywhere=True)  # one in VMEM goes over the links too
                if one.op in ("all-gather-start", "collective-permute-start"):  # with what goes in
                    moved -= sum(size(around[name].shape, anywhere=True) for name in one.operands)
                self.collective_bytes[kind] += turns * moved  # type: ignore[assignment]
                break
        moved = self._moved(one, around, inner)
        estimate = int(one.find(r'estimated_cycles":"(\d+)"') or 0) / Chip.hertz
        kernel = self.kernels.get(one.name)
        transfer = 0.0 if one.op.endswith("-start") else moved / Chip.hbm_bytes_per_second
        schedule = max(kernel.cycles / Chip.hertz if kernel else estimate, transfer)
        if kernel and not kernel.is_counted:  # its code does not show the turns, as of a loop over rows
            schedule = max(schedule, estimate)
            self.uncounted[one.name] += turns if one.op in WITHOUT_ESTIMATE else 0  # type: ignore[assignment]
        target = one.target
        if not estimate and one.op in WITHOUT_ESTIMATE and target not in BOOKKEEPING:
            self.unpriced[target or one.op] += turns  # type: ignore[assignment]
        shape = one.shape if len(one.shape) < 60 else one.shape[:57] + "..."
        part = (one.name, one.label, shape, turns, turns * estimate, turns * schedule, turns * moved)
        self.parts.append(Part(*part))

    # ---- turns of loops ----------------------------------------------------------------------------

    def _turns(self, loop: Instruction, around: Mapping[str, Instruction]) -> float:
        label = loop.label or loop.name
        for part, number in self.given.items():
            if part and part in label:
                return number
        if known := loop.find(r'known_trip_count"?:\s*\{"?n"?:\s*"?(\d+)'):
            return int(known)
        found = self._read_turns(loop, around)
        if found is not None:
            return found
        if "" in self.given:
            return self.given[""]
        self.unknown_loops.append(label)
        return 1

    def _read_turns(self, loop: Instruction, around: Mapping[str, Instruction]) -> int | None:
        """Of a counter that rises by 1 from a constant to a constant; None for others."""
        test = self.module.computations[loop.called("condition") or ""]
        root = next((one for one in test.values() if one.is_root), None)
        carried = around.get(loop.operands[0])
        if root is None or carried is None or carried.op != "tuple":
            return None

        def initial(one: Instruction | None) -> int | None:
            """The constant behind an operand of the test: its own, or what the loop starts with."""
            one = _behind(one, test)
            if one is None:
                return None
            if one.op == "get-tuple-element":
                return _constant(around.get(carried.operands[int(one.find(r"index=(\d+)") or 0)]), around)
            return _constant(one, test)

        if root.op not in ("compare", "fusion") or len(root.operands) < 2:
            return None
        sides = [test.get(name) for name in root.operands]
        start, limit = initial(sides[0]), initial(sides[1])
        if start is None or limit is None:
            return None
        low, high = sorted((start, limit))
        return high - low

    # ---- transfers ---------------------------------------------------------------------------------

    def _moved(
        self, one: Instruction, around: Mapping[str, Instruction], inner: Mapping[str, Instruction]
    ) -> float:
        """Bytes between HBM and the chip; what lies in fast memory is free."""
        shape_of = lambda name: around[name].shape if name in around else ""
        if one.op == "copy-start":
            return size(shape_of(one.operands[0])) or size(one.shape)
        if one.op.endswith("-start") and one.op not in COLLECTIVES:
            shown = size(one.shape)
            return shown if "S(1)" in one.shape else shown // 2
        if one.op in ("dynamic-slice", "slice"):
            return 2 * size(one.shape)
        if one.op == "dynamic-update-slice":
            return 2 * size(shape_of(one.operands[1]))
        parameters = sorted((i for i in inner.values() if i.op == "parameter"), key=lambda i: int(i.inside))
        read = [size(shape_of(name)) for name in one.operands]
        written = float(size(one.shape))
        if parameters and len(parameters) == len(read):
            read = [min(all_, self._touched(p, inner)) for all_, p in zip(read, parameters, strict=True)]
            written = sum(_written(root, inner) for root in _roots(inner))
        return sum(read) + written

    def _touched(self, one: Instruction, inner: Mapping[str, Instruction]) -> int:
        """Bytes of a value that a fused computation reads: of slices only themselves."""
        total, whole, users = 0, size(one.shape, anywhere=True), 0
        for user in inner.values():
            if one.name not in user.operands:
                continue
            users += 1
            first = user.operands[0] == one.name
            if user.op in SLICES and first:
                total += size(user.shape, anywhere=True)
            elif user.op in ("dynamic-update-slice", "scatter") and first:
                continue
            elif user.op == "bitcast":
                total += self._touched(user, inner)
            elif user.op == "fusion":
                called = self.module.computations.get(user.called("calls") or "", {})
                for parameter in called.values():
                    if parameter.op == "parameter" and user.operands[int(parameter.inside)] == one.name:
                        total += self._touched(parameter, called)
            else:
                return whole
        return min(total, whole) if users else 0


def _behind(one: Instruction | None, inside: Mapping[str, Instruction]) -> Instruction | None:
    while one is not None and one.op in MOVES:
        one = inside.get(one.operands[0])
    return one


def _constant(one: Instruction | None, inside: Mapping[str, Instruction]) -> int | None:
    one = _behind(one, inside)
    if one is not None and one.op == "constant" and re.fullmatch(r"-?\d+", one.inside):
        return int(one.inside)
    return None


def _roots(inner: Mapping[str, Instruction]) -> list[Instruction]:
    root = next(one for one in inner.values() if one.is_root)
    return [inner[name] for name in root.operands] if root.op == "tuple" else [root]


def _written(root: Instruction, inner: Mapping[str, Instruction]) -> float:
    """Bytes that a result of a fusion writes: of an update in place the update."""
    if root.op == "dynamic-update-slice" and size(root.shape):
        return size(inner[root.operands[1]].shape, anywhere=True)
    return size(root.shape)
