"""Weights as Gaussians: their cost in bits under a prior of many scales, and samples of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SCALES = 2.0 ** np.arange(4, -11, -1)  # standard deviations of the prior's parts
CHANCES = 4.0 ** np.arange(len(SCALES)) / (4.0 ** np.arange(len(SCALES))).sum()  # their probabilities


def cost(params: Any) -> Any:
    """Nats to send the weights, by the bound on the mixture; biases have the prior N(0, 4^2)."""
    return sum(
        -jax.nn.logsumexp(by_scale(layer), axis=1).sum() + _gaussian(layer[2], layer[3], 4.0).sum()
        for layer in params
    )


def by_scale(layer: Any) -> Any:
    """`log pi_k - KL_k` of each row, `(in, scale)`."""
    w, s = layer[:2]
    return jnp.stack(
        [
            float(np.log(p)) - _gaussian(w, s, float(scale)).sum(1)
            for scale, p in zip(SCALES, CHANCES, strict=True)
        ],
        1,
    )


def _gaussian(mean: Any, log_std: Any, scale: float) -> Any:
    ratio = jnp.exp(2 * log_std) / scale**2
    return 0.5 * (ratio + (mean / scale) ** 2 - 1) - log_std + float(np.log(scale))


def sampled(params: Any, x: Any, key: Any) -> Any:
    """Logits with random weights for each example. The sums of products are drawn, not the weights."""
    for i, (w, s, b, t) in enumerate(params):
        mean = x @ w + b
        variance = (x * x) @ jnp.exp(2 * s) + jnp.exp(2 * t)
        noise = jax.random.normal(jax.random.fold_in(key, i), mean.shape, jnp.float32)
        x = mean + jnp.sqrt(variance) * noise
        x = x if i + 1 == len(params) else jax.nn.relu(x)
    return x
