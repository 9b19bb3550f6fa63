"""Memory of circuits at GPT-2 small's shape: the peak of a process of its own for each call.

    python benchmarks/circuits_memory.py                 # 12 layers, 12 heads, d 768, vocab 50257; 8 pairs of 16 tokens
    python benchmarks/circuits_memory.py --only run      # one of them
    python benchmarks/circuits_memory.py --smoke         # seconds: a tiny shape, no claim

Weights are random. Each call runs in a process of its own, whose peak of resident memory is printed: Python, JAX, the
model, compilation and the call. A process that only makes the model and runs it once is printed first. Compile time
is the first call minus the second.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from typing import Any

CALLS = ("model", "run", "values", "eap", "neurons")
WHAT = {
    "model": "the model, and one forward pass",
    "run": "circuits.run, one circuit",
    "values": "circuits.evaluate, 4 circuits, max_bytes=1 GiB",
    "eap": "circuits.eap, 5 steps",
    "neurons": "circuits.eap, 5 steps, the 3,072 neurons of layer 6 as senders",
}


def measured(name: str, smoke: bool) -> None:
    """Runs one call twice, and prints seconds and the peak."""
    import jax
    import jax.numpy as jnp

    import jaxinterp as ji

    sizes: dict[str, Any] = {"vocab": 50257, "ctx": 64, "layers": 12, "heads": 12, "d": 768}
    prompts, pos, layer = 8, 16, 6
    if smoke:
        sizes, prompts, layer = {"vocab": 100, "ctx": 64, "layers": 3, "heads": 2, "d": 16}, 2, 1
    model = ji.models.GPT2.init(ji.models.GPT2Config(**sizes), key=jax.random.key(0))
    clean, corrupt = jax.random.randint(jax.random.key(1), (2, prompts, pos), 0, sizes["vocab"])
    metric = ji.metrics.logit_diff(clean[:, 0], clean[:, 1])
    g = ji.circuits.graph(model, neurons=[layer] if name == "neurons" else None)
    masks = jax.random.uniform(jax.random.key(2), (4, g.size)) < 0.5

    def call() -> Any:
        if name == "model":
            return ji.run(model, clean)[0]
        if name == "run":
            return ji.circuits.run(model, clean, corrupt, ji.circuits.Circuit(masks[0], g))
        if name == "values":
            circuits = ji.circuits.Circuit(masks, g)
            return ji.circuits.evaluate(model, circuits, clean, corrupt, metric, max_bytes=2**30).metric
        return ji.circuits.eap(model, clean, corrupt, metric, steps=5, graph=g).values

    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        assert bool(jnp.isfinite(jax.block_until_ready(jnp.asarray(call()))).all())
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = f"{WHAT[name]:64} {peak:5.2f} GiB  {seconds[1]:6.1f} s  {seconds[0] - seconds[1]:6.1f} s to compile"
    print(row + f"  ({g.size:,} edges)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", nargs="*", choices=CALLS, default=CALLS)
    parser.add_argument("--here", choices=CALLS, help="in this process: what the others are started with")
    args = parser.parse_args()
    if args.here:
        measured(args.here, args.smoke)
        return
    for name in args.only:
        command = [sys.executable, __file__, "--here", name, *["--smoke"] * args.smoke]
        # A program out of the cache would hide what compiling takes.
        subprocess.run(command, check=True, env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"})


if __name__ == "__main__":
    main()
