"""Units that share nothing with another model's but chance: baselines of a correlation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core._check import check_key
from ._units import Side

BASELINES = ("rotation", "permutation", "gaussian")
LARGEST = 4096  # units that one random matrix mixes, where a layer has more


class Chance(eqx.Module):
    """From the units of a batch `(token, unit)` to as many that stand for chance."""

    key: Any
    matrices: Any  # of a rotation, one for each group of units
    kind: str = eqx.field(static=True)

    def __call__(self, x: jax.Array, counted: jax.Array, number: jax.Array) -> jax.Array:
        if self.kind == "rotation":
            parts, start = [], 0
            for matrix in self.matrices:
                own = x[:, start : start + len(matrix)]
                parts.append(jnp.matmul(own, matrix.T, precision="highest"))
                start += len(matrix)
            return jnp.concatenate(parts, 1)
        key = jax.random.fold_in(self.key, number)
        if self.kind == "gaussian":
            return jax.random.normal(key, x.shape, jnp.float32)
        # The k-th token that counts gets the units of another one that counts.
        order = jnp.argsort(~counted, stable=True)
        drawn = jax.random.uniform(key, counted.shape, jnp.float32)
        mixed = jnp.argsort(jnp.where(counted, drawn, jnp.inf), stable=True)
        return x[jnp.zeros_like(order).at[order].set(mixed)]


def as_chance(baseline: Any, key: Any, side: Side) -> Chance | None:
    """The baseline of this name, or None."""
    if baseline is None:
        return None
    if baseline not in BASELINES:
        raise ValueError(f"baseline is one of {', '.join(BASELINES)}, or None; got {baseline!r}.")
    key = check_key(key, f"ji.neurons.correlations(..., baseline={baseline!r}, key={{}})")
    if baseline != "rotation":
        return Chance(key, None, baseline)
    sizes = [min(LARGEST, n - start) for n in side.sizes for start in range(0, n, LARGEST)]
    keys = jax.random.split(key, len(sizes))
    return Chance(key, tuple(_unit_rows(k, n) for k, n in zip(keys, sizes, strict=True)), baseline)


def _unit_rows(key: Any, n: int) -> jax.Array:
    """A Gaussian matrix `(n, n)` with rows of norm 1."""
    rows = jax.random.normal(key, (n, n), jnp.float32)
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
