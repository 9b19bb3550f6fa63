"""Moments of many neurons by class, merged batch by batch."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..corpus._batches import Batch


@dataclass
class Moments:
    """Count, mean and sums of powers about it, `(class, neuron)` in float64; least and largest."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    m3: np.ndarray
    m4: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def nothing(classes: int, neurons: int) -> "Moments":
        full = lambda value: np.full((classes, neurons), value)
        zeros = full(0.0)
        return Moments(zeros, zeros, zeros, zeros, zeros, full(np.inf), full(-np.inf))

    def merged(self, other: "Moments") -> "Moments":
        """The moments of both sets of tokens together (Pebay 2008, after Chan et al. 1979)."""
        na, nb = self.count, other.count
        n = np.maximum(na + nb, 1)
        gap = np.where((na > 0) & (nb > 0), other.mean - self.mean, 0)
        mean = (na * self.mean + nb * other.mean) / n
        m2 = self.m2 + other.m2 + gap**2 * na * nb / n
        m3 = (
            self.m3
            + other.m3
            + gap**3 * na * nb * (na - nb) / n**2
            + 3 * gap * (na * other.m2 - nb * self.m2) / n
        )
        m4 = (
            self.m4
            + other.m4
            + gap**4 * na * nb * (na**2 - na * nb + nb**2) / n**3
            + 6 * gap**2 * (na**2 * other.m2 + nb**2 * self.m2) / n**2
            + 4 * gap * (na * other.m3 - nb * self.m3) / n
        )
        return Moments(
            na + nb, mean, m2, m3, m4, np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        )

    def standardised(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean, deviation, skewness and kurtosis (3 for a Gaussian); NaN where nothing varies."""
        n = np.maximum(self.count, 1)
        variance = self.m2 / n
        with np.errstate(invalid="ignore", divide="ignore"):
            skew = np.where(variance > 0, self.m3 / n / variance**1.5, np.nan)
            kurtosis = np.where(variance > 0, self.m4 / n / variance**2, np.nan)
        mean = np.where(self.count > 0, self.mean, np.nan)
        return mean, np.sqrt(variance), skew, kurtosis


def of_batch(x: Any, batch: Batch, classes: int) -> Moments:
    """The moments of one batch, float32 about the batch's own mean."""
    found = _of_batch(x, batch.extra, batch.positions, classes)
    return Moments(*(np.asarray(each, np.float64) for each in found))


@eqx.filter_jit
def _of_batch(x: Any, label: Any, counted: Any, classes: int) -> Any:
    counts = counted[None]  # (1, seq, pos)
    # (neuron, seq) to (class, neuron)
    by_class = lambda each: jax.ops.segment_sum(each.T, label, classes)
    weight = jnp.broadcast_to(counts.astype(x.dtype), x.shape)
    count = by_class(weight.sum(2))
    mean = by_class((x * weight).sum(2)) / jnp.maximum(count, 1)
    gap = (x - mean[label].T[:, :, None]) * weight
    powers = [by_class((gap**n).sum(2)) for n in (2, 3, 4)]
    inside = jnp.broadcast_to(counts, x.shape)
    low = jax.ops.segment_min(jnp.where(inside, x, jnp.inf).min(2).T, label, classes)
    high = jax.ops.segment_max(jnp.where(inside, x, -jnp.inf).max(2).T, label, classes)
    return count, mean, *powers, low, high
