"""Neurons and layers beside plain loops: all-pairs correlations, and every layer deleted and swapped.

    python benchmarks/neurons.py                          # 12 layers of 3,072 neurons; some rows of the matrix
    python benchmarks/neurons.py --peer PATH/TO/PYTHON    # beside a loop in torch, in an environment of its own
    python benchmarks/neurons.py --smoke                  # seconds: tiny shapes, no claim

The whole matrix of two GPT-2 small is 36,864 by 36,864. One block of its rows is timed, with all columns: the time of
the others is the same. The floor is the same product of matrices alone in float32, in the same process and between the
other calls. Loops hold float32 products of a chunk in float64 sums, as published code does; torch runs with one thread.
Answers are compared before times are printed. Times are processor seconds, so that other work on the machine counts
little, beside seconds of the clock: medians of calls after the first, taken in turn.

The layers are those of SmolLM2's shape, all 30, with a quarter of its width. The loop runs one compiled forward for each
intervention, with the weights in the changed order, and compares its predictions with those of the whole model.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

TORCH = """
import sys, time, statistics, numpy as np, torch
torch.set_num_threads(1)
out, rows, columns, tokens, chunk, repeats = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
a = rng.standard_normal((tokens, rows), np.float32) + 1
b = rng.standard_normal((tokens, columns), np.float32) - 1
b[:, :rows] += a
a, b = torch.from_numpy(a), torch.from_numpy(b)
def loop():
    products = torch.zeros(rows, columns, dtype=torch.float64)
    sums = [torch.zeros(x.shape[1], dtype=torch.float64) for x in (a, b)]
    squares = [torch.zeros(x.shape[1], dtype=torch.float64) for x in (a, b)]
    for start in range(0, tokens, chunk):
        parts = a[start : start + chunk], b[start : start + chunk]
        products += parts[0].T @ parts[1]
        for i, part in enumerate(parts):
            sums[i] += part.sum(0, dtype=torch.float64)
            squares[i] += (part.double() ** 2).sum(0)
    spread = [(q - s * s / tokens).sqrt() for q, s in zip(squares, sums)]
    return (products - torch.outer(*sums) / tokens) / torch.outer(*spread)
found, cpu, wall = loop(), [], []
for _ in range(repeats):
    at = time.process_time(), time.perf_counter()
    loop()
    cpu.append(time.process_time() - at[0]); wall.append(time.perf_counter() - at[1])
np.savez(out, r=found[:, :256].numpy(), seconds=[statistics.median(cpu), statistics.median(wall)])
"""


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Processor seconds and seconds of the clock: medians after one call that compiles, one after another."""
    for call in calls.values():
        jax.block_until_ready(call())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            at = time.process_time(), time.perf_counter()
            jax.block_until_ready(call())
            times[name].append((time.process_time() - at[0], time.perf_counter() - at[1]))
    median = lambda values: statistics.median(values)
    return {name: (median([c for c, _ in t]), median([w for _, w in t])) for name, t in times.items()}


def loop(a: np.ndarray, b: np.ndarray, chunk: int) -> np.ndarray:
    """Sums in float64 over chunks of tokens, and the formula of moments."""
    n = len(a)
    products = np.zeros((a.shape[1], b.shape[1]))
    sums = [np.zeros(x.shape[1]) for x in (a, b)]
    squares = [np.zeros(x.shape[1]) for x in (a, b)]
    for start in range(0, n, chunk):
        x, y = a[start : start + chunk], b[start : start + chunk]
        products += x.T @ y
        for i, part in enumerate((x, y)):
            wide = part.astype(np.float64)
            sums[i] += wide.sum(0)
            squares[i] += (wide * wide).sum(0)
    spread = [np.sqrt(q - s * s / n) for q, s in zip(squares, sums, strict=True)]
    return (products - np.outer(*sums) / n) / np.outer(*spread)


def correlations(args: argparse.Namespace) -> None:
    """Prints the table of correlations."""
    rows, columns = (32, 96) if args.smoke else (args.rows, args.columns)
    tokens, batch = (256, 128) if args.smoke else (args.tokens, args.batch)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((tokens, rows), np.float32) + 1
    b = rng.standard_normal((tokens, columns), np.float32) - 1
    b[:, :rows] += a
    find = lambda: ji.neurons.correlations(a, b, batch_size=batch, max_bytes=2**33)
    gap = np.abs(find().matrix - loop(a, b, batch)).max()
    assert gap < 1e-5, gap
    first, second = jnp.asarray(a[:batch]), jnp.asarray(b[:batch])
    product = jax.jit(lambda x, y: jnp.einsum("ti,tj->ij", x, y, precision="highest"))
    calls = {
        "product alone": lambda: [product(first, second) for _ in range(tokens // batch)],
        "correlations": lambda: find().values,
        "NumPy loop": lambda: loop(a, b, batch),
    }
    found = in_turn(calls, args.repeats)
    if args.peer:
        with tempfile.TemporaryDirectory() as folder:
            out = f"{folder}/found.npz"
            sizes = [str(n) for n in (rows, columns, tokens, batch, args.repeats)]
            subprocess.run([args.peer, "-c", TORCH, out, *sizes], check=True)
            theirs = np.load(out)
        gap = max(gap, np.abs(find().matrix[:, :256] - theirs["r"]).max())
        assert gap < 1e-5, gap
        found["torch loop"] = tuple(float(x) for x in theirs["seconds"])
    print(
        f"{rows} rows of {columns} columns, {tokens} tokens in batches of {batch}; largest difference {gap:.1e}"
    )
    print("| what | processor seconds | GFLOP per processor second | share of the product | seconds |")
    print("|---|---|---|---|---|")
    flops, floor = 2 * tokens * rows * columns, found["product alone"][0]
    for name, (cpu, wall) in found.items():
        print(f"| {name} | {cpu:.3f} | {flops / cpu / 1e9:.1f} | {100 * floor / cpu:.0f}% | {wall:.3f} |")


def layers(args: argparse.Namespace) -> None:
    """Prints the table of interventions on layers."""
    if args.smoke:
        shape, size = {"vocab": 64, "d": 16, "layers": 4, "heads": 2, "kv_heads": 1, "ff": 32}, (2, 8)
    else:
        shape = {"vocab": 4096, "d": 144, "layers": 30, "heads": 9, "kv_heads": 3, "ff": 384}
        size = (args.texts, 64)
    model = ji.models.Llama.init(ji.models.LlamaConfig(ctx=64, **shape), key=jax.random.key(0))
    # Larger weights, so that a layer matters to what is predicted.
    model = jax.tree.map(lambda x: 4 * x if eqx.is_inexact_array(x) and x.ndim > 2 else x, model)
    tokens = np.random.default_rng(0).integers(0, shape["vocab"], size)
    count = shape["layers"]
    every = list(range(count))
    swapped = [[*every[:i], i + 1, i, *every[i + 2 :]] for i in range(count - 1)]
    logits = jax.jit(lambda model: jax.nn.log_softmax(ji.run(model, jnp.asarray(tokens))[0][:, 1:-1]))
    kl = jax.jit(lambda p, q: (jnp.exp(p) * (p - q)).sum(-1).mean())
    # Weights in their new order are made before: only forwards are timed.
    deleted = [ji.weights.drop_layers(model, [i]) for i in every]
    changed = [ji.weights.permute_layers(model, order) for order in swapped]

    def one_by_one() -> list[jax.Array]:
        whole = logits(model)
        return [kl(whole, logits(each)) for each in (*deleted, *changed)]

    ours = lambda: ji.neurons.layer_interventions(model, tokens, progress=False)
    found = ours()
    assert found.delete is not None and found.swap is not None
    wanted = np.asarray(jax.device_get(one_by_one()))
    gap = np.abs(np.concatenate([found.delete.kl, found.swap.kl]) / wanted - 1).max()
    assert gap < 1e-3, gap
    times = in_turn({"one forward for each": one_by_one, "layer_interventions": ours}, args.repeats)
    number, loop_time = 2 * count - 1, times["one forward for each"][0]
    print(
        f"\n{number} interventions on {count} layers, {size[0]} texts of {size[1]} tokens; KL {wanted.min():.2g} to {wanted.max():.2g}, "
        f"largest relative difference {gap:.1e}"
    )
    print("| what | processor seconds | against the loop | seconds |\n|---|---|---|---|")
    for name, (cpu, wall) in times.items():
        print(f"| {name} | {cpu:.3f} | {loop_time / cpu:.2f} | {wall:.3f} |")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, in seconds; no claim")
    parser.add_argument("--only", choices=("correlations", "layers"), help="one of the tables")
    parser.add_argument("--peer", help="a Python that has torch")
    parser.add_argument("--rows", type=int, default=1024, help="rows of the matrix, of 36,864")
    parser.add_argument("--columns", type=int, default=12 * 3072, help="columns of the matrix")
    parser.add_argument(
        "--tokens", type=int, default=4096, help="tokens of the stream, a multiple of --batch"
    )
    parser.add_argument(
        "--batch", type=int, default=2048, help="tokens in a batch, and in a chunk of the loops"
    )
    parser.add_argument("--texts", type=int, default=8, help="texts of 64 tokens for interventions on layers")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    if args.only != "layers":
        correlations(args)
    if args.only != "correlations":
        layers(args)


if __name__ == "__main__":
    main()
