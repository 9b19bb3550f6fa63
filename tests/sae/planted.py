"""A planted dictionary: sparse sums of known directions (the ground truth of these tests)."""

import functools

import numpy as np


@functools.cache
def planted(
    n: int = 200_000, d: int = 32, features: int = 64, share: float = 0.03, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Activations `(n, d)` and their directions `(features, d)`: Bernoulli(share) times U(0.5, 1.5)."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(features, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    amounts = (rng.random((n, features)) < share) * rng.uniform(0.5, 1.5, (n, features))
    return (amounts @ directions).astype(np.float32), directions.astype(np.float32)
