"""Compiles one program and reads from it what it costs."""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import SingleDeviceSharding

from . import products
from .bundles import read_kernels
from .compiler import Chip, Compiler
from .cost import Cost
from .hlo import read
from .program import Program, split

CALLBACK = re.compile(r'callback|custom_call_target="xla_(?:python|ffi)')
WIDE = re.compile(r"\b(?:f64|c128)\[")


class Measured(NamedTuple):
    """The row of a program.

    - `est_ms`: the compiler's estimate; `schedule_ms`: by machine code and transfers; None where the
      machine code was not kept.
    - `floor_ms`: the products that are needed at the peak rate, or reading and writing the arguments once.
    - `peak_gib`: arguments, results and temporary memory of one chip.
    - `hbm_gb`: bytes to and from HBM; `collectives`: bytes by kind and their number.
    - `unpriced`: calls without an estimate, and how often they run; `flags`: what must not be there.
    """

    name: str
    group: str
    est_ms: float
    floor_ms: float
    peak_gib: float
    schedule_ms: float | None
    hbm_gb: float
    temporary_gib: float
    collectives: dict[str, list[float]]
    unpriced: dict[str, float]
    flags: list[str]
    seconds: float
    cost: Any


@contextlib.contextmanager
def as_if_on(platform: str) -> Iterator[None]:
    """`jax.default_backend()` as it is where the program will run: the library asks while it is traced."""
    asked = jax.default_backend
    jax.default_backend = lambda: platform
    try:
        yield
    finally:
        jax.default_backend = asked


def measure(program: Program, compiler: Compiler) -> Measured:
    """Compiles a program for a v5e and reads its cost. What the compiler refuses is raised."""
    began = time.perf_counter()
    compiler.clear()
    call = program.build(compiler.devices)
    chip = SingleDeviceSharding(compiler.devices(call.topology)[0])
    function, arrays = split(call, call.place or (lambda path, leaf: chip))
    donated = (0,) if call.donated else ()
    with as_if_on("tpu"), call.mesh or contextlib.nullcontext():
        traced = jax.jit(function, donate_argnums=donated).trace(*arrays)
        work = call.work
        if work is None:
            work = products.count(traced.jaxpr.jaxpr, call.turns.get("", 1.0)) / chips_of(call.place, arrays)
        compiled = traced.lower().compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    kernels = {} if compiler.folder is None else read_kernels(compiler.folder)
    cost = Cost(read(text), kernels, call.turns)
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = kept + memory.temp_size_in_bytes
    flags = [f"turns of {label} unknown" for label in dict.fromkeys(cost.unknown_loops)]
    uncounted = sum(1 for turns in cost.uncounted.values() if turns)
    flags += [f"{uncounted} kernels with loops of unknown turns"] * bool(uncounted)
    flags += ["float64"] * bool(WIDE.search(text)) + ["callback"] * bool(CALLBACK.search(text))
    flags += ["too large"] * (peak > Chip.memory)
    floor = max(work / Chip.products, kept / Chip.hbm_bytes_per_second)
    return Measured(
        program.name,
        program.group,
        1e3 * cost.estimate,
        1e3 * floor,
        peak / 2**30,
        1e3 * cost.schedule if kernels else None,
        cost.moved / 1e9,
        memory.temp_size_in_bytes / 2**30,
        {kind: [cost.collective_bytes[kind], n] for kind, n in cost.collectives.items()},
        dict(cost.unpriced),
        flags,
        time.perf_counter() - began,
        cost,
    )


def chips_of(place: Any, arrays: Any) -> int:
    """Among how many chips the work is divided."""
    if place is None:
        return 1
    leaf = jax.tree.leaves(arrays)[0]
    return len(leaf.sharding.device_set)
