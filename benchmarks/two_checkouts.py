"""The rows of `forward.py` and `patching.py` in two checkouts of this project, in turn: is the new code not slower?

    git worktree add ../old COMMIT
    python benchmarks/two_checkouts.py ../old .               # GPT-2 small's shape
    python benchmarks/two_checkouts.py ../old . --smoke       # seconds: a tiny shape, no claim

Each checkout has a process of its own, which stays: they take turns, call by call. Columns are processor seconds,
medians of calls after the first, and the second checkout's over the first's. Rows that end in `10` are sweeps
of prompts that agree at their first ten positions.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROWS = ("forward", "capture", "residual", "heads", "attribution", "residual10", "heads10")


def calls(smoke: bool) -> dict[str, Any]:
    """The calls by name, of the library that this process imports."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jaxinterp as ji

    shape = {"vocab": 100, "d": 32, "layers": 2, "heads": 2} if smoke else {}
    config = ji.models.GPT2Config(
        **{"vocab": 50257, "ctx": 1024, "d": 768, "layers": 12, "heads": 12} | shape
    )
    model = ji.models.GPT2.init(config, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(0, config.vocab, (8, 128)), jnp.int32)
    named = [name for name in ji.sites(model, ids) if not ji.SITES[name].optional] + ["scores", "pattern"]
    clean = rng.integers(0, config.vocab, (4, 16))
    other = (clean + rng.integers(1, config.vocab, (4, 16))) % config.vocab
    late = np.concatenate([clean[:, :10], other[:, 10:]], 1)
    metric = ji.metrics.logit_diff(*rng.integers(0, config.vocab, (2, 4)))
    pairs = {
        "": (jnp.asarray(clean, jnp.int32), jnp.asarray(other, jnp.int32), metric),
        "10": (jnp.asarray(clean, jnp.int32), jnp.asarray(late, jnp.int32), metric),
    }
    found: dict[str, Any] = {
        "forward": lambda: ji.run(model, ids),
        "capture": lambda: ji.run(model, ids, capture=named),
        "attribution": lambda: ji.patching.attribution(model, *pairs[""]),
    }
    for end, pair in pairs.items():
        found |= {
            f"residual{end}": lambda pair=pair: ji.patching.sweep(model, *pair, over=("layer", "pos")),
            f"heads{end}": lambda pair=pair: ji.patching.sweep(
                model, *pair, site="z", over=("layer", "head")
            ),
        }
    return found


def answer(smoke: bool) -> None:
    """Runs a call for each name on stdin, and prints its processor seconds."""
    import jax

    ready = calls(smoke)
    for line in sys.stdin:
        began = time.process_time()
        jax.block_until_ready(jax.tree.leaves(ready[line.strip()]()))
        print(time.process_time() - began, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", type=Path, nargs=2, help="the folders of the old and the new code")
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    repeats = 1 if given.smoke else given.repeats
    asked = [sys.executable, __file__, "--answer", *["--smoke"] * given.smoke]
    running = [
        subprocess.Popen(
            asked, stdin=-1, stdout=-1, text=True, env=os.environ | {"PYTHONPATH": str(folder.resolve())}
        )
        for folder in given.checkouts
    ]

    def seconds(process: Any, name: str) -> float:
        process.stdin.write(name + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    print(f"{'call':12} {'first s':>9} {'second s':>9} {'ratio':>6}")
    for name in ROWS:
        for process in running:
            seconds(process, name)  # compiles
        both = zip(*([seconds(process, name) for process in running] for _ in range(repeats)), strict=True)
        first, second = (statistics.median(each) for each in both)
        print(f"{name:12} {first:9.3f} {second:9.3f} {second / first:6.2f}", flush=True)
    for process in running:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait()


if __name__ == "__main__":
    if "--answer" in sys.argv:
        answer("--smoke" in sys.argv)
    else:
        main()
