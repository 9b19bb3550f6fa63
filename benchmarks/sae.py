"""Training steps per second and peak memory beside SAELens, dictionary_learning and sparsify.

    python benchmarks/sae.py                                   # all kinds and sizes: many minutes
    python benchmarks/sae.py --only TopK --features 4096       # one table
    python benchmarks/sae.py --smoke                           # a minute: a small shape, no claim

Needs torch==2.13.0; the others are skipped where they are not installed (sae-lens,
dictionary-learning, eai-sparsify). Same activations, kind, size and batch, float32 and all cores on
a CPU, bfloat16 products on an accelerator (written for one, never run on one). Each library does
its steps itself, through its own trainer with its own defaults (loss, AuxK, optimiser, norms of the
decoder, accounts); of sparsify Adam and AuxK are asked for, which its defaults leave out. Each has a
process of its own, so that peak memory is its own, and they take turns (of jaxinterp four times as
many steps, by default 16: one dispatch). Of each turn the time per step, then medians; the first step
(for jaxinterp the first dispatch, with compilation) is apart.

The rate is that of XLA's product of the encoder's size, in turn with the others. FLOP are those of a
dense step, 6 products of 2 batch d features: sparse forms can be above 100% of the rate. The floor is
one such product for TopK and BatchTopK (pre-activations), else five (inputs need no gradient).
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

LIBRARIES = {
    "matmul": "jax",
    "jaxinterp": "jaxinterp",
    "sae_lens": "sae-lens",
    "dictionary_learning": "dictionary-learning",
    "sparsify": "eai-sparsify",
}
SOME = ["matmul", "jaxinterp", "sae_lens", "dictionary_learning"]
TRAINERS = str(Path(__file__).with_name("sae_trainers.py"))
KINDS = {"TopK": [*LIBRARIES], "BatchTopK": SOME, "Standard": SOME, "JumpReLU": SOME, "Gated": SOME}


def table(kind: str, features: int, given: Any) -> None:
    print(
        f"\n{kind}, {features:,} features, d {given.d}, batch {given.batch}, k {given.k}: medians of {given.rounds} turns of {given.steps} steps"
    )
    running, told = {}, {}
    for library in KINDS[kind]:
        try:
            importlib.metadata.version(LIBRARIES[library])
        except importlib.metadata.PackageNotFoundError:
            print(f"{library}: not installed, skipped (pip install {LIBRARIES[library]})")
            continue
        numbers = (features, given.d, given.k, given.batch, given.steps)
        running[library] = subprocess.Popen(
            [sys.executable, TRAINERS, library, kind, *map(str, numbers)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if given.loud else subprocess.DEVNULL,
        )
        told[library] = [answer(running[library])]
        if not told[library][0]:
            print(f"{library}: failed")
            del running[library], told[library]
    for _ in range(given.rounds):
        for library, process in running.items():
            process.stdin.write("go\n")
            process.stdin.flush()
            told[library].append(answer(process))
    for process in running.values():
        process.kill()
        process.wait()
    took = {name: statistics.median(x["seconds"] for x in turns[1:]) for name, turns in told.items()}
    flop = 2.0 * given.batch * given.d * features
    product = took.pop("matmul")
    print(f"rate {flop / product / 1e9:.0f} GFLOP/s; floor {(1 if 'TopK' in kind else 5) * product:.3f} s")
    print(f"{'':22} steps/s   s/step  rel. time  of the rate  peak MB (over imports)    first")
    for name, seconds in took.items():
        last, first = (
            told[name][-1],
            told[name][0]["seconds"] * (4 * given.steps if name == "jaxinterp" else 1),
        )
        print(
            f"{name:22} {1 / seconds:7.2f} {seconds:8.3f} {seconds / took['jaxinterp']:10.2f} "
            f"{6 * product / seconds:11.0%} {last['peak']:9.0f} ({last['own']:.0f}) {first:14.1f} s"
        )
    others = [seconds for name, seconds in took.items() if name != "jaxinterp"]
    if others:
        print(
            f"the best of the others takes {min(others) / took['jaxinterp']:.2f} times as long as jaxinterp",
            flush=True,
        )


def answer(process: Any) -> dict[str, float]:
    """What a child tells next; nothing if it ended."""
    for line in process.stdout:
        if line.startswith("@@"):
            return json.loads(line[2:])
    return {}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--smoke", action="store_true", help="a small shape, one turn")
    ask.add_argument("--only", nargs="+", choices=[*KINDS], default=[*KINDS], metavar="KIND")
    ask.add_argument("--features", type=int, nargs="+")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--steps", type=int, default=4, help="in a turn")
    ask.add_argument("--d", type=int, nargs="+")
    ask.add_argument("--k", type=int, default=32)
    ask.add_argument("--batch", type=int, default=4096)
    ask.add_argument("--loud", action="store_true", help="show what libraries print")
    given = ask.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several share a device
    sizes, widths = given.features or [4096, 16_384], given.d or [512]
    if jax.default_backend() != "cpu":
        sizes, widths = given.features or [24_576, 131_072], given.d or [768, 2048]
    if given.smoke:
        sizes, widths = [256], [32]
        given.k, given.batch, given.rounds, given.steps = 4, 64, 1, 2
        given.only = ["TopK"] if len(given.only) == len(KINDS) else given.only
    print(
        f"jax {jax.__version__}, {jax.default_backend()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for given.d in widths:
        for kind in given.only:
            for features in sizes:
                table(kind, features, given)


if __name__ == "__main__":
    main()
