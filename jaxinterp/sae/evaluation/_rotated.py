"""Random features in the subspace of a dictionary: the baseline of universality."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..kinds._rows import unit_norm


class Rotated(eqx.Module):
    """$R f(x)$ with R Gaussian, rows of norm 1: random features in the subspace of a dictionary."""

    inner: Any
    matrix: Any

    def __init__(self, inner: Any, key: Any) -> None:
        self.inner = inner
        self.matrix = unit_norm(jax.random.normal(key, (inner.features, inner.features), jnp.float32))

    @property
    def d(self) -> Any:
        """Width of what is read."""
        return getattr(self.inner, "d", None)

    @property
    def decoder(self) -> Any:
        """The decoder of the dictionary; its rows do not belong to these features."""
        return self.inner.decoder

    def encode(self, x: Any) -> Any:
        """Random mixtures of features."""
        f = self.inner.encode(x).astype(jnp.float32)
        return jnp.matmul(f, self.matrix.T, precision="highest")
