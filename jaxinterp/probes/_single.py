"""The probe of every single neuron, all at once."""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._blocks import block_width, by_block, log1p, options, sums
from ._input import as_examples, as_labels, as_shaped
from ._input import example_weights as _example_weights

# So many examples, half of each class, from which the search starts where there are far more.
_SAMPLE = 1024


class Singles(eqx.Module):
    """One probe per neuron, arrays `(..., d)`, with several labellings `(feature, ..., d)`.

    `weights`, `bias`, `value` of the objective, `converged`, `iterations` (passes over the
    examples), and at threshold 0 the training `f1`, `precision`, `recall`, `accuracy`,
    `balanced_accuracy`, `mcc`. Made by `single_neuron`.
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
    labellings: int = eqx.field(static=True, default=0)  # the length of the axis feature; 0 if none

    def decision(self, x: Any) -> Any:
        """Scores of every neuron's own probe, `(..., n, d)` for x of that shape."""
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        self._check(x)
        x = x[None] if self.labellings else x
        return x * self.weights[..., None, :] + self.bias[..., None, :]

    def evaluate(self, x: Any, y: Any) -> dict[str, np.ndarray]:
        """Metrics `(..., d)` of every probe on other examples, of which `y (n,)` are the labels.

        For probes of several labellings `y (feature, n)`.
        """
        x = as_shaped(x, layers=True)
        self._check(x)
        signs = _labellings(y, x.shape[-2])
        if (np.ndim(y) > 1, len(signs)) != (self.labellings > 0, self.labellings or 1):
            wanted = f"(feature={self.labellings}, n)" if self.labellings else "(n,)"
            raise ValueError(f"These probes were fitted to labels {wanted}; got {np.shape(y)}.")
        up = jnp.asarray(signs > 0, jnp.float32)
        lead = (len(signs), -1, x.shape[-1])
        v, b = (np.reshape(a, lead) for a in (self.weights, self.bias))

        def block(part: Any, layer: int, where: slice) -> dict[str, Any]:
            return _score(part, up, v[:, layer, where], b[:, layer, where])

        found = by_block(x, block, block_width(x.shape))
        return {name: value.reshape(self.weights.shape) for name, value in found.items()}

    def _check(self, x: Any) -> None:
        beside = self.weights.shape[1:] if self.labellings else self.weights.shape
        if x.ndim < 2 or (*x.shape[:-2], *x.shape[-1:]) != beside:
            raise ValueError(
                f"These probes read x (..., n, d) with the axes {beside} beside n; got the shape "
                f"{x.shape}."
            )


def single_neuron(
    x: Any, y: Any, *, gamma: float | int = 1.0, balanced: bool = True, max_iter: int = 50
) -> Singles:
    r"""$\min_{w_j, b_j} \sum_i \omega_i \log(1 + e^{-y_i (w_j x_{ij} + b_j)}) + \frac{1}{2\gamma} w_j^2$ for every j.

    Newton's method for all neurons in one program, block after block; a step of a neuron is a 2 x 2
    system of sums over the examples, all taken in one pass. With thousands of examples the search
    starts from the optimum of a sample of them.

    **Arguments:** `x (..., n, d)`, any leading axes (layers), NumPy (also memory-mapped: blocks are
    read one by one) or JAX; `y (n,)` in {0, 1}, or several labellings at once `(feature, n)`;
    `gamma`, `balanced` as in `fit`; `max_iter` passes over the examples.

    **Returns:** `Singles`, arrays `(..., d)`, or `(feature, ..., d)`. Neurons that never change get
    the weight 0. `converged`: the Newton decrement fell below 1e-8 of the objective, and one more step
    was taken.

    **Raises:** as `best_subset`.

    ```python
    singles = ji.probes.single_neuron(x, y)
    int(singles.f1.argmax()), float(singles.f1.max())
    singles.evaluate(x, y)["f1"]
    ```

    Law: each is `fit(x, y, support=[j])`, in float32.
    """
    x = as_shaped(x, layers=True)
    n, d = x.shape[-2:]
    signs = _labellings(y, n)
    if not (gamma > 0 and np.isfinite(gamma)):
        raise ValueError(f"gamma is the inverse of the ridge, positive and finite; got {gamma}.")
    omega = np.stack([_example_weights(each, balanced) for each in signs])
    rows, share = _sample(signs, omega)
    width = block_width(x.shape)
    group = 32 if jax.default_backend() == "cpu" and width % 32 == 0 else width
    fit = _compiled(group)
    real = lambda a: jnp.asarray(a, jnp.float32)
    side, weight, share = real(signs), real(omega), real(share)
    rows, ridge, most = jnp.asarray(rows, jnp.int32), jnp.float32(1 / gamma), jnp.int32(max_iter)
    block = lambda part, layer, where: fit(part, side, weight, rows, share, ridge, most)
    found = by_block(x, block, width)
    if not np.isfinite(found.pop("middle")).all():
        as_examples(x, layers=True)
        raise ValueError("Activations beyond 1e34 overflow in float32; divide them first.")
    shape = (*np.shape(y)[:-1], *x.shape[:-2], d)
    labellings = len(signs) if np.ndim(y) > 1 else 0
    return Singles(
        **{name: value.reshape(shape) for name, value in found.items()}, labellings=labellings
    )


def _labellings(y: Any, n: int) -> np.ndarray:
    """Signs `(feature, n)` of one labelling or several."""
    y = np.asarray(y)
    if y.ndim == 2 and len(y):
        return np.stack([as_labels(each, n) for each in y])
    return as_labels(y, n)[None]


def _sample(signs: np.ndarray, omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each class, evenly spread, and their weights with the class's sum kept.

    No rows where there are too few examples for a sample to be cheaper than all.
    """
    rows, shares = [], []
    for sign, weight in zip(signs, omega, strict=True):
        up, down = np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)
        if len(sign) < 4 * _SAMPLE:
            rows.append(np.zeros(0, np.int32))
            shares.append(np.zeros(0))
            continue
        many = int(np.clip(_SAMPLE // 2, _SAMPLE - len(down), len(up)))
        taken = [
            side[np.linspace(0, len(side) - 1, size).astype(int)]
            for side, size in ((up, many), (down, _SAMPLE - many))
        ]
        sums = [weight[side].sum() for side in (up, down)]
        rows.append(np.concatenate(taken))
        shares.append(
            np.concatenate([np.full(len(t), s / len(t)) for t, s in zip(taken, sums, strict=True)])
        )
    return np.stack(rows), np.stack(shares)


@cache
def _compiled(group: int) -> Callable[..., dict[str, Any]]:
    """The program for blocks that are solved `group` neurons at a time."""

    def block(
        x: Any, y: Any, omega: Any, rows: Any, share: Any, ridge: Any, most: Any
    ) -> dict[str, Any]:
        n, width = x.shape
        # Examples become the contiguous axis; the barrier keeps this a plain transpose.
        columns = jax.lax.optimization_barrier(x.T).reshape(width // group, group, n)

        def feature(given: Any) -> dict[str, Any]:
            y, omega, rows, share = given
            few = jax.lax.optimization_barrier(x[rows].T).reshape(width // group, group, rows.size)
            each = lambda c: _newton(c[0], c[1], y, omega, y[rows], share, ridge, most)
            found = jax.lax.map(each, (columns, few))
            return {name: value.reshape(width) for name, value in found.items()}

        return jax.lax.map(feature, (y, omega, rows, share))

    return jax.jit(block, compiler_options=options())


def _newton(
    x: Any, few: Any, y: Any, omega: Any, y_few: Any, share: Any, ridge: Any, most: Any
) -> dict[str, Any]:
    """Probes of x (d, n), from the optimum of the sample `few (d, m)` where there is one."""
    n = x.shape[1]
    # Centred and scaled columns: the 2 x 2 systems stay well conditioned in float32.
    # Sums about the first example: no column that is constant looks as if it moved.
    first = x[:, :1]
    shift, square = sums(x - first, (x - first) ** 2)
    middle = first[:, 0] + shift / n
    spread = jnp.sqrt(jnp.maximum(square / n - (shift / n) ** 2, 0))
    moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
    safe = jnp.where(moves, spread, 1)
    scale = jnp.where(moves, 1 / safe, 0)
    penalty = ridge / safe**2
    scaled = lambda x: (x - middle[:, None]) * scale[:, None]
    start = jnp.zeros_like(middle), jnp.zeros_like(middle)
    if few.shape[1]:
        *start, _, _ = _solve(scaled(few), y_few, share, penalty, start, jnp.int32(30), 1e-5)
    z = scaled(x)
    v, b, converged, turns = _solve(z, y, omega, penalty, start, most, 1e-8)
    score = z * v[:, None] + b[:, None]
    e = jnp.exp(-jnp.abs(score))
    loss = jnp.maximum(-y[None] * score, 0) + log1p(e)
    said = jnp.where(score > 0, np.float32(1), np.float32(0))
    up = jnp.maximum(y, 0)[None]
    value, tp, positive = sums(omega[None] * loss, said * up, said)
    weights = v * scale
    return {
        "weights": weights,
        "bias": b - weights * middle,
        "value": value + penalty * v**2 / 2,
        "converged": converged,
        "iterations": turns,
        "middle": middle,
        **_measures(tp, positive, jnp.sum(up), n),
    }


def _solve(
    z: Any, y: Any, omega: Any, penalty: Any, start: Any, most: Any, tol: float
) -> tuple[Any, Any, Any, Any]:
    """Weights `(d,)` and bias of z (d, n), which of them converged, and in how many passes.

    Each pass evaluates gradient and curvature at a trial point. The objective is convex: a full
    Newton step is kept unless the slope along it has turned up by more than half of what it was;
    then the step is cut to where the slope, taken as linear, is zero.
    """
    side, weight = y[None], omega[None]

    def evaluate(v: Any, b: Any) -> tuple[Any, ...]:
        t = -side * (z * v[:, None] + b[:, None])
        e = jnp.exp(-jnp.abs(t))
        r = 1 / (1 + e)
        p = jnp.where(t > 0, r, e * r)
        mass, curve = weight * p, weight * (e * r * r)
        slope = -side * mass
        g_b, g_v, h_bb, h_vb, h_vv, total = sums(
            slope, slope * z, curve, curve * z, curve * z * z, mass
        )
        h_bb, h_vv = h_bb * (1 + 1e-6) + 1e-12, h_vv * (1 + 1e-6) + penalty
        # The loss is at least sum omega p: a scale for convergence without a logarithm.
        return g_v + penalty * v, g_b, h_vv, h_vb, h_bb, total + penalty * v**2 / 2

    def step(state: Any) -> Any:
        v, b, d_v, d_b, size, push, going, turns, count = state
        new_v, new_b = v - size * d_v, b - size * d_b
        g_v, g_b, h_vv, h_vb, h_bb, low = evaluate(new_v, new_b)
        ahead = -(g_v * d_v + g_b * d_b)
        good = going & (ahead <= push / 2)
        det = jnp.maximum(h_vv * h_bb - h_vb**2, 1e-7 * h_vv * h_bb)
        next_v, next_b = (h_bb * g_v - h_vb * g_b) / det, (h_vv * g_b - h_vb * g_v) / det
        decrement = g_v * next_v + g_b * next_b
        shorter = size * jnp.clip(push / jnp.maximum(push + ahead, 1e-37), 0.05, 0.7)
        keep = lambda new, old: jnp.where(good, new, old)
        # A step that is kept where nothing is left to gain ends the search of that neuron.
        return (
            keep(new_v, v), keep(new_b, b), keep(next_v, d_v), keep(next_b, d_b),
            keep(jnp.ones_like(size), shorter), keep(decrement, push),
            going & ~(good & (decrement <= tol * low)), turns + going.astype(jnp.int32), count + 1,
        )  # fmt: skip

    v, b = start
    zero, one = jnp.zeros_like(v), jnp.ones_like(v)
    state = (v, b, zero, zero, one, zero, one > 0, jnp.zeros(v.shape, jnp.int32), jnp.int32(0))
    state = jax.lax.while_loop(lambda s: jnp.any(s[6]) & (s[8] < most), step, state)
    v, b, d_v, d_b, _, _, going, turns, _ = state
    # The step that was computed last is free, and squares what error is left.
    return v - jnp.where(going, 0, d_v), b - jnp.where(going, 0, d_b), ~going, turns


def _score(x: Any, up: Any, v: Any, b: Any) -> dict[str, Any]:
    return _scored()(x, up, v, b)


@cache
def _scored() -> Callable[..., dict[str, Any]]:
    def block(x: Any, up: Any, v: Any, b: Any) -> dict[str, Any]:
        columns = jax.lax.optimization_barrier(x.T)

        def feature(given: Any) -> dict[str, Any]:
            up, v, b = given
            said = jnp.where(columns * v[:, None] + b[:, None] > 0, np.float32(1), np.float32(0))
            tp, positive = sums(said * up[None], said)
            return _measures(tp, positive, jnp.sum(up), columns.shape[1])

        return jax.lax.map(feature, (up, v, b))

    return jax.jit(block, compiler_options=options())


def _measures(tp: Any, positive: Any, up: Any, n: int) -> dict[str, Any]:
    """Metrics of hard predictions from the counts of hits, of predicted and of real positives; 0/0 is 0."""
    fp, fn = positive - tp, up - tp
    tn = n - up - fp
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
