"""Compiles one program and reads from it what it costs."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import SingleDeviceSharding

from . import products
from .bundles import read_kernels
from .compiler import CardCompiler, Chip, Compiler
from .cost import Cost, Part
from .hlo import read
from .program import Program, split

CALLBACK = re.compile(r'callback|custom_call_target="xla_(?:python|ffi)')
WIDE = re.compile(r"\b(?:f64|c128)\[")


class Measured(NamedTuple):
    """The row of a program.

    - `est_ms`: the compiler's estimate; `schedule_ms`: by machine code and transfers. None where nothing
      is known: a GPU's compiler has no times.
    - `floor_ms`: the products that are needed at the peak rate, or reading and writing the arguments once.
    - `peak_gib`: arguments, results and temporary memory of one chip.
    - `hbm_gb`: bytes to and from HBM; `collectives`: bytes by kind and their number.
    - `unpriced`: calls without an estimate, and how often they run (on a GPU all custom calls).
    - `seconds`: CPU time of tracing, compiling and reading.
    - `flags`: what must not be there; `parts`: the instructions with their costs.
    """

    name: str
    group: str
    est_ms: float | None
    floor_ms: float | None
    peak_gib: float
    schedule_ms: float | None
    hbm_gb: float | None
    temporary_gib: float
    collectives: dict[str, list[float]]
    unpriced: dict[str, float]
    flags: list[str]
    seconds: float
    parts: tuple[Part, ...] = ()


@contextlib.contextmanager
def as_if_on(platform: str) -> Iterator[None]:
    """`jax.default_backend()` as it is where the program will run: the library asks while it is traced."""
    asked = jax.default_backend
    jax.default_backend = lambda: platform
    try:
        yield
    finally:
        jax.default_backend = asked


def measure(program: Program, compiler: Compiler | CardCompiler) -> Measured:
    """Compiles a program and reads its cost. What the compiler refuses is raised."""
    began = time.process_time()
    compiler.clear()
    call = program.build(compiler.devices)
    chip = SingleDeviceSharding(compiler.devices(call.topology)[0])
    function, arrays = split(call, call.place or (lambda path, leaf: chip))
    donated = (0,) if call.donated else ()
    with as_if_on(compiler.platform), call.mesh or contextlib.nullcontext():
        traced = jax.jit(function, donate_argnums=donated).trace(*arrays)
        work = call.work
        if work is None:
            work = products.count(traced.jaxpr.jaxpr, call.turns.get("", 1.0)) / chips_of(call.place, arrays)
        compiled = traced.lower().compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = kept + memory.temp_size_in_bytes
    flags = ["float64"] * bool(WIDE.search(text)) + ["callback"] * bool(CALLBACK.search(text))
    flags += ["too large"] * (peak > compiler.memory)
    found = Measured(
        name=program.name,
        group=program.group,
        est_ms=None,
        floor_ms=None,
        peak_gib=peak / 2**30,
        schedule_ms=None,
        hbm_gb=None,
        temporary_gib=memory.temp_size_in_bytes / 2**30,
        collectives={},
        unpriced=dict(Counter(re.findall(r'custom_call_target="([^"]*)"', text))),
        flags=flags,
        seconds=time.process_time() - began,
    )
    if isinstance(compiler, CardCompiler):
        return found
    kernels = {} if compiler.folder is None else read_kernels(compiler.folder)
    cost = Cost(read(text), kernels, call.turns)
    uncounted = sum(1 for turns in cost.uncounted.values() if turns)
    flags += [f"turns of {label} unknown" for label in dict.fromkeys(cost.unknown_loops)]
    flags += [f"{uncounted} kernels with loops of unknown turns"] * bool(uncounted)
    return found._replace(
        est_ms=1e3 * cost.estimate,
        floor_ms=1e3 * max(work / Chip.products, kept / Chip.hbm_bytes_per_second),
        schedule_ms=1e3 * cost.schedule if kernels else None,
        hbm_gb=cost.moved / 1e9,
        collectives={kind: [cost.collective_bytes[kind], n] for kind, n in cost.collectives.items()},
        unpriced=dict(cost.unpriced),
        seconds=time.process_time() - began,
        parts=tuple(cost.parts),
    )


def chips_of(place: Any, arrays: Any) -> int:
    """Among how many chips the work is divided."""
    if place is None:
        return 1
    leaf = jax.tree.leaves(arrays)[0]
    return len(leaf.sharding.device_set)
