"""The central programs on the device at hand, beside the time of their matrix products alone.

    python benchmarks/accelerator.py                         # GPT-2 small's shape, random weights
    python benchmarks/accelerator.py --only forward grads    # these groups of rows
    python benchmarks/accelerator.py --smoke                 # seconds: tiny shapes, no claim

Groups: forward, grads, sweeps, paths, generate, lens, dictionaries. A row gives the median time of a
call, the floor (its products at the rate that one large product reaches here in the same precision),
their ratio, and the first call, which compiles. float32 runs with precision="highest", on a GPU without
TF32. Say the name of the card with every figure.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

CAPTURED = ("resid_post", "z", "mlp_post")
LEANED = ("resid_pre", "z", "mlp_out")


class Row(NamedTuple):
    """One program: its name, the call, the operations of its products, and their dtype."""

    name: str
    call: Callable[[], Any]
    work: float
    dtype: Any


class Size(NamedTuple):
    """What is measured: a config, a batch and the shape of a dictionary."""

    config: Any
    batch: int
    pos: int
    pairs: int
    short: int
    steps: int
    features: int
    rows: int


FULL = Size(
    ji.models.GPT2Config(vocab=50257, ctx=1024, d=768, layers=12, heads=12),
    8,
    1024,
    16,
    32,
    128,
    24_576,
    4096,
)
SMOKE = Size(ji.models.GPT2Config(vocab=128, ctx=64, d=64, layers=2, heads=2), 2, 32, 2, 8, 4, 256, 64)


def median(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """The median of the later calls, and the first."""
    took = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:]), took[0]


def rate(dtype: Any, size: int, repeats: int) -> float:
    """Operations a second of one large product."""
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest" if dtype == jnp.float32 else None))
    return 2.0 * size**3 / median(lambda: product(a), repeats)[0]


def forward_work(c: Any, batch: int, pos: int, unembedded: int) -> float:
    """Operations of the products of a pass: blocks at every position, the unembedding where asked for."""
    block = 2.0 * pos * (4 * c.d * c.heads * c.k + 2 * c.d * c.ff) + 4.0 * pos * pos * c.heads * c.k
    return batch * (c.layers * block + 2.0 * unembedded * c.d * c.vocab)


def cast(model: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, model)


def language_rows(size: Size, groups: set[str]) -> Iterator[Row]:
    c = size.config
    whole = ji.models.GPT2.init(c, key=jax.random.key(0))
    numbers = np.random.default_rng(0)
    ids = jnp.asarray(numbers.integers(0, c.vocab, (size.batch, size.pos)), jnp.int32)
    pairs = jnp.asarray(numbers.integers(0, c.vocab, (2, size.pairs, size.short)), jnp.int32)
    metric = ji.metrics.logit_diff(1, 2)
    for dtype in (jnp.bfloat16, jnp.float32):
        model, kind = cast(whole, dtype), jnp.dtype(dtype).name
        work = forward_work(c, size.batch, size.pos, 1)
        short = forward_work(c, size.pairs, size.short, 1)
        if "forward" in groups:
            yield Row(f"run, last logits, {kind}", lambda m=model: ji.run(m, ids, logits=-1), work, dtype)
            yield Row(
                f"run, three captures, {kind}",
                lambda m=model: ji.run(m, ids, capture=CAPTURED, logits=-1),
                work,
                dtype,
            )
        if "grads" in groups:
            yield Row(
                f"site_grads, {kind}",
                lambda m=model: ji.site_grads(m, ids, metric, at=LEANED),
                3 * work,
                dtype,
            )
        if "sweeps" in groups:
            # Half of the layers and half of the positions are run again, on average.
            cells = c.layers * size.short * short / 4
            for name, over, cost in (
                ("resid_pre", ("layer", "pos"), cells),
                ("z", ("layer", "head"), c.layers * c.heads * short / 2),
            ):
                yield Row(
                    f"sweep of {name}, {kind}",
                    lambda m=model, n=name, o=over: ji.patching.sweep(
                        m, *pairs, metric, site=n, over=o, progress=False
                    ),
                    cost,
                    dtype,
                )
            yield Row(
                f"attribution, {kind}",
                lambda m=model: ji.patching.attribution(
                    m, *pairs, metric, site="resid_pre", over=("layer", "pos")
                ),
                4 * short,
                dtype,
            )
        if "paths" in groups and dtype == jnp.float32:
            few = pairs[:, : max(1, size.pairs // 4)]
            yield Row(
                f"direct_paths, {kind}",
                lambda m=model, p=few: ji.circuits.direct_paths(m, *p, metric),
                0.0,
                dtype,
            )
        if "generate" in groups:
            prompt = ids[:, : size.pos // 8]
            total = forward_work(c, size.batch, prompt.shape[1] + size.steps, size.steps)
            yield Row(
                f"generate, {kind}", lambda m=model, p=prompt: ji.generate(m, p, size.steps), total, dtype
            )
        if "lens" in groups:
            texts = ids[:, : size.pos // 2]
            read = forward_work(c, size.batch, texts.shape[1], 0)
            read += 2.0 * size.batch * texts.shape[1] * c.d * c.vocab * (c.layers + 1)
            yield Row(
                f"lens.summary, {kind}", lambda m=model, t=texts: ji.lens.summary(m, t).entropy, read, dtype
            )


def dictionary_rows(size: Size) -> Iterator[Row]:
    d, m = size.config.d, size.features
    x = jax.random.normal(jax.random.key(1), (4 * size.rows, d))
    kinds = {
        "TopK": ji.sae.TopK(d=d, features=m, k=32),
        "BatchTopK": ji.sae.BatchTopK(d=d, features=m, k=32),
        "JumpReLU": ji.sae.JumpReLU(d=d, features=m),
        "Standard": ji.sae.Standard(d=d, features=m),
        "Gated": ji.sae.Gated(d=d, features=m),
    }
    for name, kind in kinds.items():
        yield Row(f"{name}, 32 steps of {size.rows} rows", lambda k=kind: train(k, x, size), 0.0, jnp.float32)


def train(kind: Any, x: Any, size: Size) -> Any:
    """32 steps from fresh weights, with everything that a call of `train` does besides."""
    return ji.sae.train(
        kind,
        x,
        key=jax.random.key(0),
        steps=32,
        batch_size=size.rows,
        settings=ji.fit.Settings(progress=False),
    )[0].decoder


def main() -> None:
    groups = ["forward", "grads", "sweeps", "paths", "generate", "lens", "dictionaries"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, one repeat")
    parser.add_argument("--only", nargs="+", choices=groups, default=groups)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size, repeats = (SMOKE, 1) if options.smoke else (FULL, options.repeats)
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {device.platform}: {device.device_kind}")
    rates = {t: rate(t, 256 if options.smoke else 8192, 3) for t in (jnp.bfloat16, jnp.float32)}
    print(", ".join(f"{jnp.dtype(t).name} {r / 1e12:.1f} TFLOP/s" for t, r in rates.items()))
    print(f"{'':34} {'ms':>10} {'floor ms':>10} {'ratio':>7} {'first s':>9}")
    asked = set(options.only)
    rows = [*language_rows(size, asked), *(dictionary_rows(size) if "dictionaries" in asked else ())]
    for row in rows:
        try:
            took, first = median(row.call, repeats)
        except Exception as error:  # one row that does not fit must not hide the others
            print(f"{row.name:34} {type(error).__name__}: {str(error).splitlines()[0][:90]}", flush=True)
            continue
        floor = row.work / rates[row.dtype]
        shown = f"{1e3 * floor:10.2f} {took / floor:7.2f}" if floor else f"{'':10} {'':7}"
        print(f"{row.name:34} {1e3 * took:10.2f} {shown} {first:9.2f}", flush=True)
    stats = device.memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        print(f"peak {stats['peak_bytes_in_use'] / 2**30:.2f} GiB of all rows")


if __name__ == "__main__":
    main()
