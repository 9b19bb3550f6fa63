"""Sums over the examples for every neuron of every layer, block by block, all cores busy."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def block_width(shape: tuple[int, ...]) -> int:
    """Neurons per block: on a CPU what its caches hold, else a whole layer."""
    n, d = shape[-2:]
    if jax.default_backend() != "cpu":
        return d
    return min(d, max(32, (1 << 20) // n // 32 * 32))


def by_block(
    x: Any, function: Callable[[Any, int, slice], dict[str, Any]], width: int
) -> dict[str, np.ndarray]:
    """`function` of float32 blocks `(n, width)` of every layer, put together as `(feature, layer, d)`.

    All blocks have one shape (the last begins earlier), so that one program serves them. A CPU runs
    a program on one core: as many threads as cores.
    """
    n, d = x.shape[-2:]
    layers = int(np.prod(x.shape[:-2], dtype=int))
    starts = [min(start, d - width) for start in range(0, d, width)]
    device = isinstance(x, jax.Array)
    flat = jnp.reshape(x, (layers, n, d)) if device else x.reshape(layers, n, d)

    def one(job: tuple[int, int]) -> dict[str, np.ndarray]:
        layer, start = job
        where = slice(start, start + width)
        if device:
            part = _cut(flat, np.int32(layer), np.int32(start), width)
        else:
            part = np.ascontiguousarray(flat[layer, :, where], dtype=np.float32)
        return {name: np.asarray(value) for name, value in function(part, layer, where).items()}

    jobs = [(layer, start) for layer in range(layers) for start in starts]
    out: dict[str, np.ndarray] = {}

    def keep(job: tuple[int, int], found: dict[str, np.ndarray]) -> None:
        layer, start = job
        for name, value in found.items():
            if name not in out:
                out[name] = np.empty((len(value), layers, d), value.dtype)
            out[name][:, layer, start : start + width] = value

    keep(jobs[0], one(jobs[0]))  # compiles, once
    if len(jobs) > 1:
        with ThreadPoolExecutor(cores()) as pool:
            for job, found in zip(jobs[1:], pool.map(one, jobs[1:]), strict=True):
                keep(job, found)
    return out


@eqx.filter_jit
def _cut(x: Any, layer: Any, start: Any, width: int) -> Any:
    n = x.shape[1]
    at = (layer, jnp.int32(0), start)
    return jax.lax.dynamic_slice(x, at, (1, n, width))[0].astype(jnp.float32)


def cores() -> int:
    """Threads that run programs: one for each core of a CPU, two where an accelerator computes."""
    if jax.default_backend() != "cpu":
        return 2
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sums(*terms: Any) -> tuple[Any, ...]:
    """Sums of several arrays `(d, n)` over n in one pass: nothing of that size is ever stored."""
    add = lambda a, b: tuple(p + q for p, q in zip(a, b, strict=True))
    return jax.lax.reduce(terms, (np.float32(0),) * len(terms), add, (1,))


def log1p(e: Any) -> Any:
    """log(1 + e) for e in [0, 1], which is 2 artanh(e / (2 + e)): cheap, and exact to 2e-7."""
    root = e / (2 + e)
    square, total = root * root, jnp.float32(2 / 13)
    for k in (11, 9, 7, 5, 3, 1):
        total = total * square + np.float32(2 / k)
    return root * total


def options() -> dict[str, Any] | None:
    # A CPU adds in vectors only where the order of a sum is free; other backends always do.
    return {"xla_cpu_enable_fast_math": True} if jax.default_backend() == "cpu" else None
