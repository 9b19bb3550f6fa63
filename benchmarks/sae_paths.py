"""TopK and BatchTopK on this machine: dense forms beside sparse ones, same batch, same numbers.

    python benchmarks/sae_paths.py              # d 512, 4,096 and 16,384 features, k 32, batch 4,096
    python benchmarks/sae_paths.py --smoke      # seconds: a small shape, no claim

A line per part: the k largest of a row, the cut of a batch, and one whole training step (loss, all
gradients, Adam with unit rows, accounts), with no feature dead and with half of them dead (AuxK at
work). Medians; the first call (compiling) is apart. What is timed is compared first.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji
from jaxinterp.fit._step import step as fit_step
from jaxinterp.sae.kinds import _cut_of_batch, _sparse, _topk
from jaxinterp.sae.training import _state


def median(function: Callable[[], Any], repeats: int) -> float:
    jax.block_until_ready(function())
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def line(name: str, dense: float, sparse: float) -> None:
    print(f"  {name:<28} {1e3 * dense:9.1f} ms {1e3 * sparse:9.1f} ms   {dense / sparse:5.2f} x")


def parts(pre: Any, k: int, repeats: int) -> None:
    plain, ours = jax.jit(lambda p: jax.lax.top_k(p, k)), jax.jit(lambda p: _sparse.largest_of_rows(p, k))
    for a, b in zip(plain(pre), ours(pre), strict=True):
        np.testing.assert_array_equal(a, b)
    line("k largest of a row", median(lambda: plain(pre), repeats), median(lambda: ours(pre), repeats))
    f, count = jax.nn.relu(pre), k * len(pre)
    bits = jax.jit(lambda f: _cut_of_batch.bisect(f, count))
    quick = jax.jit(lambda f: _cut_of_batch.largest_above(f, count))
    assert float(bits(f)) == float(quick(f))
    line("cut of a batch", median(lambda: bits(f), repeats), median(lambda: quick(f), repeats))


def steps(d: int, m: int, k: int, batch: int, x: Any, dead: bool, repeats: int) -> None:
    """One step, by the dense form and by the sparse one."""
    rule, took, losses = _topk.is_sparse_faster, [], []
    for form in (False, True):
        _topk.is_sparse_faster = lambda *_, form=form: form
        jax.clear_caches()
        kind = ji.sae.TopK(d=d, features=m, k=k).init(jax.random.key(1))
        optimizer = ji.sae.unit_rows(kind.optimizer(1000))
        state = _state.begin(kind, optimizer, x, x, False)
        if dead:
            silent = jnp.where(jnp.arange(m) % 2 == 0, jnp.int32(10**9), 0)
            counts = _state.Counts(silent)
            state = _state.State(state.params, state.optimizer_state, state.step, counts)
        task = _state.DictionaryTask(optimizer, None, 1000, 10**9)
        step = jax.jit(lambda s: fit_step(task, s, {None: (x, x)}))  # noqa: B023
        losses.append(float(step(state)[1]["loss"]))
        took.append(median(lambda: step(state), repeats))  # noqa: B023
    _topk.is_sparse_faster = rule
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    line("step" + (", half dead (AuxK)" if dead else ""), *took)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ask.add_argument("--smoke", action="store_true")
    ask.add_argument("--batch", type=int, default=4096)
    ask.add_argument("--repeats", type=int, default=3)
    given = ask.parse_args()
    d, sizes, k, batch = 512, (4096, 16_384), 32, given.batch
    if given.smoke:
        d, sizes, k, batch = 32, (1024,), 4, 64
    print(
        f"jax {jax.__version__}, {jax.default_backend()}, {os.cpu_count()} cores; d {d}, k {k}, batch {batch}"
    )
    for m in sizes:
        print(f"{m} features {'dense':>29} {'sparse':>12}")
        x = jax.random.normal(jax.random.key(0), (batch, d))
        kind = ji.sae.TopK(d=d, features=m, k=k).init(jax.random.key(1))
        parts(kind.pre(x), k, given.repeats)
        for dead in (False, True):
            steps(d, m, k, batch, x, dead, given.repeats)


if __name__ == "__main__":
    main()
