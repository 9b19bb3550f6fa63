"""All-pairs correlation of two models' neurons over a stream, beside a chunked NumPy loop.

    python benchmarks/neurons.py            # 12 layers of 3,072 neurons on each side; some rows of the matrix
    python benchmarks/neurons.py --smoke    # seconds: a tiny shape, no claim

The whole matrix of two GPT-2 small is 36,864 by 36,864. One block of its rows is timed, with all columns: the time of
the others is the same. The roof is the rate of this machine at the same product of matrices in float32, in the same
process; both sides read the same arrays, and their answers are compared before times are printed. NumPy's loop holds
float32 products of a chunk in float64 sums, as published code does. Times are medians of calls after the first.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji


def timed(call: Callable[[], Any], repeats: int) -> float:
    """The median of seconds, after one call that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a tiny shape, in seconds; no claim")
    parser.add_argument("--rows", type=int, default=1024, help="rows of the matrix, of 36,864")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of the stream")
    parser.add_argument("--batch", type=int, default=2048, help="tokens in a batch, and in a chunk of NumPy")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    rows, columns = (32, 96) if args.smoke else (args.rows, 12 * 3072)
    tokens, batch = (256, 128) if args.smoke else (args.tokens, args.batch)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((tokens, rows), np.float32) + 1
    b = rng.standard_normal((tokens, columns), np.float32) - 1
    b[:, :rows] += a

    whole = ji.neurons.correlations(a, b, batch_size=batch, max_bytes=2**33)
    gap = np.abs(whole.matrix - loop(a, b, batch)).max()
    assert gap < 1e-5, gap
    flops = 2 * tokens * rows * columns
    first, second = jnp.asarray(a[:batch]), jnp.asarray(b[:batch])
    product = jax.jit(lambda x, y: jnp.einsum("ti,tj->ij", x, y, precision="highest"))
    roof = timed(lambda: product(first, second), args.repeats) * tokens / batch
    ours = timed(
        lambda: ji.neurons.correlations(a, b, batch_size=batch, max_bytes=2**33).values, args.repeats
    )
    theirs = timed(lambda: loop(a, b, batch), args.repeats)
    print(
        f"{rows} rows of {columns} columns, {tokens} tokens in batches of {batch}; largest difference {gap:.1e}"
    )
    print("| what | seconds | GFLOP/s | share of the product |\n|---|---|---|---|")
    for name, seconds in (("product alone", roof), ("correlations", ours), ("NumPy loop", theirs)):
        print(f"| {name} | {seconds:.3f} | {flops / seconds / 1e9:.1f} | {100 * roof / seconds:.0f}% |")


if __name__ == "__main__":
    main()
