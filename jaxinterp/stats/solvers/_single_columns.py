"""Logistic regressions of one column each, for a block of columns: two unknowns, and sums over the examples.

`_supports.py` solves the same problem for any number of columns. This form has no matrix: all sums of a
pass are taken in one reduction, so that nothing of the size of the data is stored. That makes it many
times faster for the millions of probes of single neurons.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._blocks import options, sums
from ._newton import TOLERANCE, NewtonPass, count_metrics, log_loss, newton, slope_and_curve

SAMPLE_PASSES, SAMPLE_TOLERANCE = 30, 1e-5
"The search on the sample of the examples is only a start: how many passes, and how exact."


@cache
def column_solver(group: int) -> Callable[..., dict[str, Array]]:
    """The program for blocks `(n, d)` whose columns are solved `group` at a time."""

    def block(
        x: Array, y: Array, omega: Array, rows: Array, share: Array, ridge: Array, most: Array
    ) -> dict[str, Array]:
        n, width = x.shape
        # Examples become the contiguous axis; the barrier keeps this a plain transpose.
        columns = jax.lax.optimization_barrier(x.T).reshape(width // group, group, n)

        def labelling(parts: tuple[Array, ...]) -> dict[str, Array]:
            y, omega, rows, share = parts
            few = jax.lax.optimization_barrier(x[rows].T).reshape(width // group, group, rows.size)
            each = lambda c: solve_columns(c[0], c[1], y, omega, y[rows], share, ridge, most)
            found = jax.lax.map(each, (columns, few))
            return {name: value.reshape(width) for name, value in found.items()}

        return jax.lax.map(labelling, (y, omega, rows, share))

    return jax.jit(block, compiler_options=options())


def solve_columns(
    x: Array, few: Array, y: Array, omega: Array, y_few: Array, share: Array, ridge: Array, most: Array
) -> dict[str, Array]:
    """Probes of x `(d, n)`, from the optimum of the sample `few (d, m)` where there is one."""
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
    trial, push = (zero, zero), zero
    if few.shape[1]:
        evaluate = column_pass(scaled(few), y_few, share, penalty)
        (v, b), _, _ = newton(evaluate, dot, trial, push, jnp.int32(SAMPLE_PASSES), SAMPLE_TOLERANCE)
        # The optimum of the sample is a step from zero like any other: a sample without the rare
        # examples that matter leads astray, and then the step is cut.
        fall = g_v * v + g_b * b
        down = fall < 0
        trial = jnp.where(down, -v, 0), jnp.where(down, -b, 0)
        push = jnp.where(down, -fall, 0)
    z = scaled(x)
    (v, b), converged, turns = newton(column_pass(z, y, omega, penalty), dot, trial, push, most, TOLERANCE)
    score = z * v[:, None] + b[:, None]
    loss = log_loss(y[None] * score)
    positive = jnp.where(score > 0, np.float32(1), np.float32(0))
    up = jnp.maximum(y, 0)[None]
    value, tp, predicted = sums(omega[None] * loss, positive * up, positive)
    weights = v * scale
    return {
        "weights": weights,
        "bias": b - weights * middle,
        "value": value + penalty * v**2 / 2,
        "converged": converged,
        "iterations": turns,
        "middle": middle,
        **count_metrics(tp, predicted, jnp.sum(up), n),
    }


def dot(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
    return a[0] * b[0] + a[1] * b[1]


def column_pass(
    z: Array, y: Array, omega: Array, penalty: Array
) -> Callable[[tuple[Array, ...]], NewtonPass]:
    """One pass over z `(d, n)`: the gradient and Newton's step of d problems with two unknowns each."""
    side, weight = y[None], omega[None]

    def evaluate(point: tuple[Array, ...]) -> NewtonPass:
        v, b = point
        p, variance = slope_and_curve(side * (z * v[:, None] + b[:, None]))
        mass, curve = weight * p, weight * variance
        slope = -side * mass
        g_b, g_v, h_bb, h_vb, h_vv, total = sums(slope, slope * z, curve, curve * z, curve * z * z, mass)
        g_v, h_bb, h_vv = g_v + penalty * v, h_bb * (1 + 1e-6) + 1e-12, h_vv * (1 + 1e-6) + penalty
        det = jnp.maximum(h_vv * h_bb - h_vb**2, 1e-7 * h_vv * h_bb)
        step = (h_bb * g_v - h_vb * g_b) / det, (h_vv * g_b - h_vb * g_v) / det
        # The loss is at least sum omega p: a scale for convergence without a logarithm.
        return NewtonPass((g_v, g_b), step, total + penalty * v**2 / 2)

    return evaluate


@cache
def column_scorer() -> Callable[..., dict[str, Array]]:
    """The program that scores the probes of a block `(n, d)`, for several labellings."""

    def block(x: Array, up: Array, v: Array, b: Array) -> dict[str, Array]:
        columns = jax.lax.optimization_barrier(x.T)

        def labelling(parts: tuple[Array, ...]) -> dict[str, Array]:
            up, v, b = parts
            positive = jnp.where(columns * v[:, None] + b[:, None] > 0, np.float32(1), np.float32(0))
            tp, predicted = sums(positive * up[None], positive)
            return count_metrics(tp, predicted, jnp.sum(up), columns.shape[1])

        return jax.lax.map(labelling, (up, v, b))

    return jax.jit(block, compiler_options=options())
