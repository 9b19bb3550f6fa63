"""The central programs on the device at hand, beside the time that their products need.

    python benchmarks/accelerator.py                              # those of benchmarks/tpu.py, on one device
    python benchmarks/accelerator.py --only forward grads         # these groups
    python benchmarks/accelerator.py --program 'sweep-*' --heavy 8
    python benchmarks/accelerator.py --smoke                      # tiny shapes, no claim

Weights and tokens are random. A row has the program's name and

- `ms`: the median time of a call, after the first;
- `floor_ms`: its products at the rate that one large product reaches here in its precision (float32 is
  precision="highest", on a GPU without TF32), or reading its arguments and writing its results once at the
  rate of a large copy, whichever is longer;
- `ratio`: the first by the second; `peak_GiB`: arguments, results and temporary memory;
- `compile_s`: tracing and compiling, several programs at a time.

Say the name of the card with every figure.
"""

import argparse
import fnmatch
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import products
from ahead.compiler import Chip
from ahead.program import Program, split
from ahead.programs import GROUPS, all_programs

HERE = [group for group in GROUPS if group != "sharded"]
HEADER = f"{'name':<34} {'ms':>10} {'floor_ms':>10} {'ratio':>7} {'peak_GiB':>9} {'compile_s':>9}"


class Ready(NamedTuple):
    """A compiled program, its arguments as shapes, and what it needs at least."""

    program: Program
    compiled: Any
    shapes: Any
    work: float
    seconds: float


class Rates(NamedTuple):
    """What the device reaches: operations a second by precision, and bytes a second of a copy."""

    bfloat16: float
    float32: float
    moved: float

    def floor(self, ready: Ready) -> float:
        """Seconds that the program needs at least."""
        memory = ready.compiled.memory_analysis()
        kept = memory.argument_size_in_bytes + memory.output_size_in_bytes
        if ready.program.group == "generate":  # its floor is reading the weights at every step
            return ready.work / Chip.products * Chip.hbm_bytes_per_second / self.moved
        exact = ready.program.name.endswith("-f32")
        needed = ready.work / products.PASSES / self.float32 if exact else ready.work / self.bfloat16
        return max(needed, kept / self.moved)


def median(call: Callable[[], Any], repeats: int) -> float:
    """The median time of a call after one that is not counted."""
    jax.block_until_ready(call())
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def rates(smoke: bool) -> Rates:
    """Measured with one large product in each precision, and one large copy."""
    size = 256 if smoke else 8192

    def product(dtype: Any, precision: Any) -> float:
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        multiplied = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
        return 2.0 * size**3 / median(lambda: multiplied(a), 5)

    many = jnp.arange(2**20 if smoke else 2**29, dtype=jnp.float32)
    copied = jax.jit(lambda x: x + 1)
    moved = 2 * many.nbytes / median(lambda: copied(many), 5)
    return Rates(product(jnp.bfloat16, None), product(jnp.float32, "highest"), moved)


def drawn(shapes: Any) -> Any:
    """Arrays of these shapes: small positive numbers and tokens that every vocabulary has."""

    def one(leaf: Any) -> Any:
        key = jax.random.key(leaf.size % 9973)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return key
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.random.normal(key, leaf.shape, leaf.dtype) * 0.03
        if leaf.dtype == jnp.bool_:
            return jnp.ones(leaf.shape, leaf.dtype)
        highest = 100 if leaf.ndim == 2 else 1
        return jax.random.randint(key, leaf.shape, 0, highest).astype(leaf.dtype)

    return jax.tree.map(one, shapes)


def prepared(program: Program, pool: ThreadPoolExecutor) -> Callable[[], Ready]:
    """Traces a program now and compiles it in the pool; the result waits for it."""
    began = time.perf_counter()
    call = program.build(lambda topology: jax.devices())
    place = SingleDeviceSharding(jax.devices()[0])
    function, shapes = split(call, lambda path, leaf: place)
    traced = jax.jit(function).trace(*shapes)
    work = call.work
    if work is None:
        work = products.count(traced.jaxpr.jaxpr, call.turns.get("", 1.0))
    lowered = traced.lower()
    traced_in = time.perf_counter() - began

    def compiled() -> Ready:
        began = time.perf_counter()
        made = lowered.compile()
        return Ready(program, made, shapes, work, traced_in + time.perf_counter() - began)

    return pool.submit(compiled).result


def heaviest(call: Callable[[], Any], count: int) -> list[str]:
    """The kernels of one call that take longest, with their time and number."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        path = next(Path(folder).rglob("*.xplane.pb"))
        took: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            if "device" not in plane.name.lower() or "cpu" in plane.name.lower():
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    took[event.name] += event.duration_ns
                    times[event.name] += 1
    total = sum(took.values())
    rows = [
        f"    {spent / 1e6:9.3f} ms x{times[name]:<6} {name[:120]}" for name, spent in took.most_common(count)
    ]
    return [f"    {total / 1e6:9.3f} ms in {sum(times.values())} kernels", *rows]


def measured(ready: Ready, known: Rates, repeats: int, heavy: int) -> tuple[dict[str, Any], list[str]]:
    """The row of a program as a record, and its dearest kernels."""
    arrays = drawn(ready.shapes)
    call = lambda: ready.compiled(*arrays)
    took, floor = median(call, repeats), known.floor(ready)
    memory = ready.compiled.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    row = {
        "name": ready.program.name,
        "ms": 1e3 * took,
        "floor_ms": 1e3 * floor,
        "ratio": took / floor,
        "peak_gib": peak / 2**30,
        "compile_s": ready.seconds,
    }
    return row, heaviest(call, heavy) if heavy else []


def shown(row: dict[str, Any]) -> str:
    numbers = f"{row['ms']:10.2f} {row['floor_ms']:10.2f} {row['ratio']:7.2f} {row['peak_gib']:9.2f}"
    return f"{row['name']:<34} {numbers} {row['compile_s']:9.1f}"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", nargs="+", choices=HERE, default=HERE, metavar="GROUP")
    ask.add_argument("--program", nargs="+", help="names of programs, or patterns with a *")
    ask.add_argument("--heavy", type=int, default=0, metavar="N", help="the N dearest kernels of each")
    ask.add_argument("--json", type=Path, metavar="FILE", help="a line of JSON a row")
    ask.add_argument("--repeats", type=int, default=5)
    ask.add_argument("--at-once", type=int, default=8, help="programs that are compiled at a time")
    ask.add_argument("--smoke", action="store_true", help="tiny shapes, one repeat")
    given = ask.parse_args()
    wanted = given.program or ["*"]
    chosen = [
        one
        for one in all_programs(given.smoke)
        if one.group in given.only and any(fnmatch.fnmatch(one.name, w) for w in wanted)
    ]
    if not chosen:
        ask.error(f"no program is named {wanted}; python benchmarks/tpu.py --list shows the names")
    device = jax.devices()[0]
    known = rates(given.smoke)
    print(f"jax {jax.__version__}, {device.platform}: {device.device_kind}")
    print(
        f"bfloat16 {known.bfloat16 / 1e12:.1f} and float32 {known.float32 / 1e12:.1f} TFLOP/s, "
        f"{known.moved / 1e12:.2f} TB/s"
    )
    print(HEADER, flush=True)
    with ThreadPoolExecutor(given.at_once) as pool:
        waiting: list[tuple[Program, Callable[[], Ready]]] = []
        for one in chosen:
            try:
                waiting.append((one, prepared(one, pool)))
            except Exception as error:  # one row that fails must not hide the others
                print(f"{one.name:<34} {failure(error)}", flush=True)
        # Nothing is timed while others compile: compilers try kernels on the device.
        for _, ready in waiting:
            try:
                ready()
            except Exception:  # shown below
                continue
        for one, ready in waiting:
            try:
                row, kernels = measured(ready(), known, 1 if given.smoke else given.repeats, given.heavy)
                print("\n".join([shown(row), *kernels]), flush=True)
                if given.json:
                    with given.json.open("a") as file:
                        file.write(json.dumps(row | {"device": device.device_kind}) + "\n")
            except Exception as error:
                print(f"{one.name:<34} {failure(error)}", flush=True)


def failure(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


if __name__ == "__main__":
    main()
