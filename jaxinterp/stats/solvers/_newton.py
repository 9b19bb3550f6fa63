r"""Newton's method for many logistic regressions in one program, in float32.

One loop serves every form: of one column each (`_single_columns.py`, two unknowns and no matrix) and of a
support of columns each (`_supports.py`, a small dense system). They differ in `evaluate`, which takes
the sums over the examples in the way that is fast for that shape.

A step is kept or cut by the slope of the objective along it (`judge`), which needs no value of the
objective: its digits beyond float32 would be lost.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._blocks import log1p

TOLERANCE = 1e-8
"In units of the objective. A Newton decrement below it ends the search."


class NewtonPass(NamedTuple):
    """At a point: the gradient, Newton's next step, and a number that the objective is not below."""

    gradient: tuple[Array, ...]
    step: tuple[Array, ...]
    least: Array


class NewtonState(NamedTuple):
    """A point and the step that is tried next, for each problem of the program.

    - `point`, `step`: trees of arrays; the next point to try is `point - size * step`.
    - `push`: how steeply the objective falls along `step`.
    - `low`, `high`, `size`: the bracket of the best size of the step, and the size that is tried.
    - `going`: whether the search continues; `turns`: its passes so far; `passes`: those of the program.
    """

    point: tuple[Array, ...]
    step: tuple[Array, ...]
    push: Array
    low: Array
    high: Array
    size: Array
    going: Array
    turns: Array
    passes: Array


class NewtonResult(NamedTuple):
    """The optimum, where the search converged, and in how many passes."""

    point: tuple[Array, ...]
    converged: Array
    turns: Array


def newton(
    evaluate: Callable[[tuple[Array, ...]], NewtonPass],
    dot: Callable[[tuple[Array, ...], tuple[Array, ...]], Array],
    first: tuple[Array, ...],
    push: Array,
    most: Array,
    tolerance: float = TOLERANCE,
) -> NewtonResult:
    """The optimum from zero, where the search converged, and in how many passes.

    - `evaluate`: one pass over the examples at a point.
    - `dot`: the inner product of two points, of the shape of `push`: one number for each problem.
    - `first`: a first step to try (its negative), and `push`, how steeply the objective falls along it. A
      first step that goes too far is dropped, and the search begins at zero.
    - `most`: the largest number of passes.

    The step that was computed last is taken without another pass; it squares the error that is left.
    """
    one = jnp.ones_like(push)
    start = NewtonState(
        point=tuple(jnp.zeros_like(part) for part in first),
        step=first,
        push=push,
        low=jnp.zeros_like(push),
        high=2 * one,
        size=one,
        going=one > 0,
        turns=jnp.zeros(push.shape, jnp.int32),
        passes=jnp.int32(0),
    )

    def turn(state: NewtonState) -> NewtonState:
        new = tuple(p - state.size * s for p, s in zip(state.point, state.step, strict=True))
        gradient, step, least = evaluate(new)
        ahead = -dot(gradient, state.step)
        kept, low, high, size = judge(state.push, ahead, state.size, state.low, state.high)
        good = state.going & kept
        decrement = dot(gradient, step)
        again = ~kept & (state.passes == 0)

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(good, new, old)

        def drop(new: Array, old: Array) -> Array:
            return jnp.where(again, 0, keep(new, old))

        return NewtonState(
            point=tuple(map(keep, new, state.point)),
            step=tuple(map(drop, step, state.step)),
            push=drop(decrement, state.push),
            low=jnp.where(again, 0, low),
            high=jnp.where(again, 2, high),
            size=jnp.where(again, 1, size),
            going=state.going & ~(good & (decrement <= tolerance * least)),
            turns=state.turns + state.going.astype(jnp.int32),
            passes=state.passes + 1,
        )

    end = jax.lax.while_loop(lambda s: jnp.any(s.going) & (s.passes < most), turn, start)
    last = tuple(p - jnp.where(end.going, 0, s) for p, s in zip(end.point, end.step, strict=True))
    return NewtonResult(last, ~end.going, end.turns)


def judge(
    push: Array, ahead: Array, size: Array, low: Array, high: Array
) -> tuple[Array, Array, Array, Array]:
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


def slope_and_curve(margin: Array) -> tuple[Array, Array]:
    r"""$\sigma(-m)$ and $\sigma(m)\, \sigma(-m)$ of margins, with one exponential."""
    e = jnp.exp(-jnp.abs(margin))
    r = 1 / (1 + e)
    return jnp.where(margin < 0, r, e * r), e * r * r


def log_loss(margin: Array) -> Array:
    r"""$\log(1 + e^{-m})$ of margins, to 2e-7."""
    return jnp.maximum(-margin, 0) + log1p(jnp.exp(-jnp.abs(margin)))


def count_metrics(tp: Array, predicted: Array, positive: Array, n: int) -> dict[str, Array]:
    """Measures of hard predictions of n examples; 0/0 is 0.

    `tp`: true positives; `predicted`, `positive`: how many are predicted positive, and how many are.
    """
    fp, fn = predicted - tp, positive - tp
    tn = n - positive - fp

    def over(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), np.float32(0))

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
