"""The probe of every single neuron, all at once."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._input import as_examples, as_labels
from ._input import example_weights as _example_weights


class Singles(eqx.Module):
    """One probe per neuron, arrays `(..., d)`; made by `single_neuron`.

    `weights`, `bias`, `value` of the objective, `converged`, and at threshold 0 the training
    `f1`, `precision`, `recall`, `accuracy`, `balanced_accuracy`, `mcc`.
    """

    weights: Any
    bias: Any
    value: Any
    converged: Any
    iterations: Any
    f1: Any
    precision: Any
    recall: Any
    accuracy: Any
    balanced_accuracy: Any
    mcc: Any

    def decision(self, x: Any) -> Any:
        """Scores of every neuron's own probe, `(..., n, d)` for x of that shape."""
        x = np.asarray(x)
        if x.ndim < 2 or (*x.shape[:-2], x.shape[-1]) != self.weights.shape:
            raise ValueError(
                f"These probes read x (..., n, d) with the axes {self.weights.shape} beside n; got "
                f"the shape {x.shape}."
            )
        return x * self.weights[..., None, :] + self.bias[..., None, :]

    def evaluate(self, x: Any, y: Any) -> dict[str, np.ndarray]:
        """Metrics `(..., d)` of every probe on other examples, of which `y (n,)` are the labels."""
        score = self.decision(x)
        up = as_labels(y, score.shape[-2]) > 0
        found = _counts(jnp.asarray(score > 0), jnp.asarray(up))
        return {name: np.asarray(value) for name, value in found.items()}


def single_neuron(
    x: Any, y: Any, *, gamma: float | int = 1.0, balanced: bool = True, max_iter: int = 50
) -> Singles:
    r"""$\min_{w_j, b_j} \sum_i \omega_i \log(1 + e^{-y_i (w_j x_{ij} + b_j)}) + \frac{1}{2\gamma} w_j^2$ for every j.

    Newton's method for all neurons in one program, layer after layer, each step of a neuron a
    2 x 2 system and sums over the examples.

    **Arguments:** `x (..., n, d)`, any leading axes (layers); `y (n,)` in {0, 1}; `gamma`,
    `balanced` as in `fit`.

    **Returns:** `Singles`, arrays `(..., d)`. Neurons that never change get the weight 0.

    **Raises:** as `best_subset`.

    ```python
    singles = ji.probes.single_neuron(x, y)
    int(singles.f1.argmax()), float(singles.f1.max())
    singles.evaluate(x, y)["f1"]
    ```

    Law: each is `fit(x, y, support=[j])`, in float32.
    """
    x = as_examples(x, layers=True)
    n, d = x.shape[-2:]
    signs = as_labels(y, n)
    omega = _example_weights(signs, balanced)
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    flat = x.reshape(-1, n, d)
    found = [
        _newton(
            jnp.asarray(layer, jnp.float32), jnp.asarray(signs, jnp.float32),
            jnp.asarray(omega, jnp.float32), jnp.float32(1 / gamma), max_iter,
        )
        for layer in flat
    ]  # fmt: skip
    shape = (*x.shape[:-2], d)
    return Singles(
        **{name: np.stack([np.asarray(f[name]) for f in found]).reshape(shape) for name in found[0]}
    )


@eqx.filter_jit
def _newton(x: Any, y: Any, omega: Any, ridge: Any, max_iter: int) -> dict[str, Any]:
    # Centred and scaled columns: the 2 x 2 systems stay well conditioned in float32.
    middle, spread = jnp.mean(x, 0, keepdims=True), jnp.std(x, 0, keepdims=True)
    moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
    safe = jnp.where(moves, spread, 1)
    z = jnp.where(moves, (x - middle) / safe, 0)
    penalty = ridge / safe**2
    side, weight = y[:, None], omega[:, None]
    total = lambda each: jnp.sum(each, 0, keepdims=True)

    def objective(v: Any, b: Any) -> Any:
        loss = total(weight * jax.nn.softplus(-side * (z * v + b)))
        return loss + penalty * v**2 / 2

    def step(state: Any) -> Any:
        v, b, value, going, turns, count = state
        p = jax.nn.sigmoid(-side * (z * v + b))
        slope = -weight * side * p
        curve = weight * p * (1 - p)
        g_v, g_b = total(slope * z) + penalty * v, total(slope)
        h_vb, h_bb = total(curve * z), total(curve) * (1 + 1e-6) + 1e-12
        h_vv = total(curve * z * z) * (1 + 1e-6) + penalty
        det = h_vv * h_bb - h_vb**2
        det = jnp.maximum(det, 1e-7 * h_vv * h_bb)
        d_v, d_b = (h_bb * g_v - h_vb * g_b) / det, (h_vv * g_b - h_vb * g_v) / det
        decrease = g_v * d_v + g_b * d_b

        # The longest of the steps 1, 1/2, ... that lowers the objective enough.
        def shorter(search: Any) -> Any:
            size, _, tries = search
            size = jnp.where(good(size), size, size / 2)
            return size, jnp.all(good(size) | ~going), tries + 1

        def good(size: Any) -> Any:
            return (
                objective(v - size * d_v, b - size * d_b)
                <= value - 1e-4 * size * decrease + 2e-7 * value
            )

        first = jnp.ones_like(v)
        search = (first, jnp.all(good(first) | ~going), jnp.int32(0))
        size, _, _ = jax.lax.while_loop(lambda s: ~s[1] & (s[2] < 20), shorter, search)
        size = jnp.where(going, size, 0)
        v, b = v - size * d_v, b - size * d_b
        still = going & (decrease > 1e-10 * value)
        return v, b, objective(v, b), still, turns + going.astype(jnp.int32), count + 1

    zero = jnp.zeros_like(middle)
    start = (
        zero,
        zero,
        objective(zero, zero),
        jnp.ones_like(moves),
        jnp.zeros(zero.shape, jnp.int32),
        jnp.int32(0),
    )
    v, b, value, going, turns, _ = jax.lax.while_loop(
        lambda s: jnp.any(s[3]) & (s[5] < max_iter), step, start
    )
    found = _counts(z * v + b > 0, y > 0)
    weights = jnp.where(moves, v / safe, 0)
    own = {
        "weights": weights,
        "bias": b - weights * middle,
        "value": value,
        "converged": ~going,
        "iterations": turns,
    }
    return {**{name: each[0] for name, each in own.items()}, **found}


@jax.jit
def _counts(said: Any, up: Any) -> dict[str, Any]:
    """Metrics of hard predictions `(..., n, d)` from the four counts; 0/0 is 0."""
    up = jnp.broadcast_to(jnp.expand_dims(up, (*range(said.ndim - 2), -1)), said.shape)
    total = lambda where: jnp.sum(where, -2).astype(jnp.float32)
    tp, fp, fn, tn = total(said & up), total(said & ~up), total(~said & up), total(~said & ~up)
    over = lambda a, b: jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
    precision, recall, other = over(tp, tp + fp), over(tp, tp + fn), over(tn, tn + fp)
    # Square roots one by one: the product of four counts is beyond float32.
    root = jnp.sqrt(tp + fp) * jnp.sqrt(tp + fn) * jnp.sqrt(tn + fp) * jnp.sqrt(tn + fn)
    return {
        "f1": over(2 * tp, 2 * tp + fp + fn),
        "precision": precision,
        "recall": recall,
        "accuracy": over(tp + tn, tp + tn + fp + fn),
        "balanced_accuracy": (recall + other) / 2,
        "mcc": over(tp * tn - fp * fn, root),
    }
