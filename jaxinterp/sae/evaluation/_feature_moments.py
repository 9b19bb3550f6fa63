"""Means and deviations of features over batches of tokens, and sums with compensation."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..kinds._coder import kind_name


class FeatureMoments:
    """Mean and sum of squared deviations of every feature, batches merged in float64."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0.0, np.zeros(()), np.zeros(())

    def add(self, count: Any, mean: Any, squares: Any) -> None:
        n, mean = float(count), np.asarray(mean, np.float64)
        whole, gap = self.count + n, mean - self.mean
        self.mean = self.mean + gap * (n / whole)
        self.squares = self.squares + np.asarray(squares) + gap**2 * (self.count * n / whole)
        self.count = whole

    def standard(self) -> tuple[Any, Any]:
        """Means, and what makes deviations 1: 0 of a feature that does not vary."""
        if not self.count:
            raise ValueError("There is not one token to compare the dictionaries on.")
        deviation = np.sqrt(self.squares / self.count)
        varies = deviation > 1e-6 * np.abs(self.mean)
        gain = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
        return jnp.asarray(self.mean, jnp.float32), jnp.asarray(gain, jnp.float32)


def features_of(sae: Any, x: Any) -> Any:
    """Features in float32, a row per token."""
    f = sae.encode(x).astype(jnp.float32)
    if f.ndim != 2:
        raise ValueError(
            f"Features of two dictionaries are compared token by token, (tokens, features); "
            f"{kind_name(sae)} gives {f.shape} for activations {x.shape}."
        )
    return f


@eqx.filter_jit
def batch_moments(sae: Any, x: Any, weight: Any) -> tuple[Any, Any, Any]:
    f, w = features_of(sae, x), weight[:, None]
    count = jnp.sum(weight)
    mean = jnp.sum(f * w, 0) / count
    return count, mean, jnp.sum(jnp.square(f - mean[None]) * w, 0)


def compensated(total: Any, more: Any) -> Any:
    """Kahan's sum: `total[0]` plus `more`, with what rounding lost in `total[1]`."""
    more = more - total[1]
    new = total[0] + more
    return jnp.stack([new, (new - total[0]) - more])
