"""ACDC beside loops of one run for each edge: same model, same prompts, same answers.

    python benchmarks/acdc.py                 # the embedded model, 8 pairs of 16 tokens
    python benchmarks/acdc.py --shape 70m     # Pythia-70M's shape; gpt2 is GPT-2 small's
    python benchmarks/acdc.py --smoke         # a minute: a tiny shape, no claim

Weights of the shapes are random, and their prompts too. Two loops are timed on
a sample of edges and extrapolated to all: the masked forward `ji.circuits.run` for each edge, and a forward in which
nothing is cut, which no loop of one forward for each edge can undercut. Compile time stands apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

SHAPES: dict[str, Any] = {
    "tiny": ji.models.GPT2Config(vocab=100, ctx=16, d=16, layers=2, heads=2),
    "70m": ji.models.GPTNeoXConfig(vocab=50_304, ctx=64, d=512, layers=6, heads=8, rotary_fraction=0.25),
    "gpt2": ji.models.GPT2Config(vocab=50_257, ctx=64, d=768, layers=12, heads=12),
}


def model_of(shape: str) -> Any:
    """The embedded model, or one of random weights, doubled, so that prompts matter."""
    if shape == "embedded":
        return ji.load("tiny")[0]
    config = SHAPES[shape]
    family = getattr(ji.models, type(config).__name__.removesuffix("Config"))
    model = family.init(config, key=jax.random.key(0))
    return jax.tree.map(lambda x: 2 * x if eqx.is_inexact_array(x) and x.ndim > 2 else x, model)


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and the median of those after it."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds[0], statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=["embedded", *SHAPES], default="embedded")
    parser.add_argument("--share", type=float, default=0.01, help="the threshold as a share of the gap")
    parser.add_argument("--sample", type=int, default=10, help="edges of the loops that are timed")
    parser.add_argument("--smoke", action="store_true", help="a tiny shape")
    given = parser.parse_args()
    shape = "tiny" if given.smoke else given.shape
    model = model_of(shape)
    config = model.config
    rng = np.random.default_rng(0)
    clean = jnp.asarray(rng.integers(0, config.vocab, (8, 16)), jnp.int32)
    corrupt = clean.at[:, 9].set(jnp.asarray(rng.integers(0, config.vocab, 8), jnp.int32))
    metric = ji.metrics.kl(ji.run(model, clean)[0])
    graph = ji.circuits.graph(model)
    gap = float(metric(ji.run(model, corrupt)[0]).mean())
    find = lambda: ji.circuits.acdc(
        model, clean, corrupt, metric, threshold=given.share * gap, progress=False
    )
    start = time.perf_counter()
    found = find()
    first = time.perf_counter() - start
    start = time.perf_counter()
    found = find()
    ours = time.perf_counter() - start
    value = metric(ji.circuits.run(model, clean, corrupt, found)).mean()
    assert abs(float(value) - float(found.metric)) < 1e-3 * gap + 1e-6, (value, found.metric)

    masks = np.asarray(found.mask)[None] ^ np.eye(graph.size, dtype=bool)[: given.sample]
    each = iter(range(10**9))
    masked = lambda: ji.circuits.run(model, clean, corrupt, masks[next(each) % len(masks)], logits=-1)
    whole = lambda: ji.run(model, clean, logits=-1)[0]
    print(
        f"{shape}: {graph.size:,} edges, {len(found):,} kept, {found.runs:,} circuits ran; {jax.devices()[0]}"
    )
    print(f"{'acdc':34} {ours:9.2f} s")
    for name, call in (("masked forward for each edge", masked), ("bare forward for each edge", whole)):
        _, one = timed(call, given.sample)
        total = one * graph.size
        print(f"{name:34} {total:9.2f} s   {total / ours:6.1f} times   ({one * 1e3:.1f} ms an edge)")
    print(f"compiling took {max(first - ours, 0):.1f} s of the first call")


if __name__ == "__main__":
    main()
