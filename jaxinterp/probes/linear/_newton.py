"""Programs for a block of neurons, each with its own probe: two unknowns, and sums over the examples."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._blocks import log1p, options, sums


@cache
def solver(group: int) -> Callable[..., dict[str, Any]]:
    """The program for blocks that are solved `group` neurons at a time."""

    def block(x: Any, y: Any, omega: Any, rows: Any, share: Any, ridge: Any, most: Any) -> dict[str, Any]:
        n, width = x.shape
        # Examples become the contiguous axis; the barrier keeps this a plain transpose.
        columns = jax.lax.optimization_barrier(x.T).reshape(width // group, group, n)

        def feature(given: Any) -> dict[str, Any]:
            y, omega, rows, share = given
            few = jax.lax.optimization_barrier(x[rows].T).reshape(width // group, group, rows.size)
            each = lambda c: _one_each(c[0], c[1], y, omega, y[rows], share, ridge, most)
            found = jax.lax.map(each, (columns, few))
            return {name: value.reshape(width) for name, value in found.items()}

        return jax.lax.map(feature, (y, omega, rows, share))

    return jax.jit(block, compiler_options=options())


def _one_each(
    x: Any, few: Any, y: Any, omega: Any, y_few: Any, share: Any, ridge: Any, most: Any
) -> dict[str, Any]:
    """Probes of x (d, n), from the optimum of the sample `few (d, m)` where there is one."""
    n = x.shape[1]
    # Centred and scaled columns: the 2 x 2 systems stay well conditioned in float32.
    # Sums about the first example: no column that is constant looks as if it moved.
    first = x[:, :1]
    pull = omega * y
    shift, square, lean = sums(x - first, (x - first) ** 2, pull[None] * (x - first))
    middle = first[:, 0] + shift / n
    spread = jnp.sqrt(jnp.maximum(square / n - (shift / n) ** 2, 0))
    moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
    safe = jnp.where(moves, spread, 1)
    scale = jnp.where(moves, 1 / safe, 0)
    penalty = ridge / safe**2
    scaled = lambda x: (x - middle[:, None]) * scale[:, None]
    # Slopes at zero, where every example has the chance one half.
    g_v = -scale * (lean - shift / n * jnp.sum(pull)) / 2
    g_b = jnp.broadcast_to(-jnp.sum(pull) / 2, g_v.shape)
    zero = jnp.zeros_like(middle)
    trial = zero, zero, zero
    if few.shape[1]:
        v, b, _, _ = _solve(scaled(few), y_few, share, penalty, trial, jnp.int32(30), 1e-5)
        # The optimum of the sample is a step from zero like any other: a sample without the rare
        # examples that matter leads astray, and then the step is cut.
        push = g_v * v + g_b * b
        down = push < 0
        trial = jnp.where(down, -v, 0), jnp.where(down, -b, 0), jnp.where(down, -push, 0)
    z = scaled(x)
    v, b, converged, turns = _solve(z, y, omega, penalty, trial, most, 1e-8)
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
    z: Any, y: Any, omega: Any, penalty: Any, trial: Any, most: Any, tol: float
) -> tuple[Any, Any, Any, Any]:
    """Weights `(d,)` and bias of z (d, n), which of them converged, and in how many passes.

    From zero, where `trial` is a first step (its negative, for weights and for the bias) and how
    steeply the objective falls along it; where that leads astray the search begins at zero.

    Each pass evaluates gradient and curvature at a trial point, which is kept or not by `judge`.
    """
    side, weight = y[None], omega[None]

    def evaluate(v: Any, b: Any) -> tuple[Any, ...]:
        t = -side * (z * v[:, None] + b[:, None])
        e = jnp.exp(-jnp.abs(t))
        r = 1 / (1 + e)
        p = jnp.where(t > 0, r, e * r)
        mass, curve = weight * p, weight * (e * r * r)
        slope = -side * mass
        g_b, g_v, h_bb, h_vb, h_vv, total = sums(slope, slope * z, curve, curve * z, curve * z * z, mass)
        h_bb, h_vv = h_bb * (1 + 1e-6) + 1e-12, h_vv * (1 + 1e-6) + penalty
        # The loss is at least sum omega p: a scale for convergence without a logarithm.
        return g_v + penalty * v, g_b, h_vv, h_vb, h_bb, total + penalty * v**2 / 2

    def step(state: Any) -> Any:
        v, b, d_v, d_b, push, low, high, size, going, turns, count = state
        new_v, new_b = v - size * d_v, b - size * d_b
        g_v, g_b, h_vv, h_vb, h_bb, least = evaluate(new_v, new_b)
        ahead = -(g_v * d_v + g_b * d_b)
        kept, low, high, other = judge(push, ahead, size, low, high)
        good = going & kept
        det = jnp.maximum(h_vv * h_bb - h_vb**2, 1e-7 * h_vv * h_bb)
        next_v, next_b = (h_bb * g_v - h_vb * g_b) / det, (h_vv * g_b - h_vb * g_v) / det
        decrement = g_v * next_v + g_b * next_b
        again = ~kept & (count == 0)
        keep = lambda new, old: jnp.where(good, new, old)
        drop = lambda new, old: jnp.where(again, 0, keep(new, old))
        return (
            keep(new_v, v),
            keep(new_b, b),
            drop(next_v, d_v),
            drop(next_b, d_b),
            drop(decrement, push),
            jnp.where(again, 0, low),
            jnp.where(again, 2, high),
            jnp.where(again, 1, other),
            going & ~(good & (decrement <= tol * least)),
            turns + going.astype(jnp.int32),
            count + 1,
        )

    d_v, d_b, push = trial
    zero, one = jnp.zeros_like(push), jnp.ones_like(push)
    turns = jnp.zeros(push.shape, jnp.int32)
    state = (zero, zero, d_v, d_b, push, zero, 2 * one, one, one > 0, turns, jnp.int32(0))
    state = jax.lax.while_loop(lambda s: jnp.any(s[8]) & (s[10] < most), step, state)
    v, b, d_v, d_b, going, turns = *state[:4], state[8], state[9]
    # The step that was computed last is free, and squares what error is left.
    return v - jnp.where(going, 0, d_v), b - jnp.where(going, 0, d_b), ~going, turns


def judge(push: Any, ahead: Any, size: Any, low: Any, high: Any) -> tuple[Any, Any, Any, Any]:
    """Whether a step of this size is kept, then the bracket of the best size, then the next to try.

    The objective is convex: its slope along the step, which fell by `push` at the start and rises
    by `ahead` now, tells where its minimum is. A step is too long where it rises by more than a
    tenth of that, and too short where it falls by more than half while a longer step was too long.
    """
    far = ~(ahead <= push / 10)
    near = ~far & (ahead < -push / 2) & (high < 2) & (high > 2 * size)
    low, high = jnp.where(near, size, low), jnp.where(far, size, high)
    # Within a bracket the middle, in ratio; before, where the slope would be zero were it linear.
    cut = size * jnp.clip(push / jnp.maximum(push + ahead, 1e-37), 0.05, 0.5)
    size = jnp.where(low > 0, jnp.sqrt(low * high), cut)
    kept = ~far & ~near
    return kept, jnp.where(kept, 0, low), jnp.where(kept, 2, high), jnp.where(kept, 1, size)


@cache
def scorer() -> Callable[..., dict[str, Any]]:
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
