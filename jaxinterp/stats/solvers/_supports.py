"""Regressions of many supports, a few columns each, in one program of float32: logistic and squared loss."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._newton import NewtonPass, log_loss, newton, slope_and_curve


class Fitted(NamedTuple):
    """Unknowns `(k + 1,)` (the bias last), the objective, whether they converged, passes."""

    theta: Array
    value: Array
    converged: Array
    turns: Array


@cache
def support_solver(loss: str, intercept: bool) -> Callable[..., dict[str, Array]]:
    """The program for columns `(n, m k)` of m supports, of which `real (m, k)` says which are there."""
    solve = {"logistic": solve_logistic, "squared": solve_squared}[loss]

    def block(x: Array, real: Array, y: Array, omega: Array, ridge: Array, most: Array) -> dict[str, Array]:
        n = x.shape[0]
        z = jnp.where(real[..., None], x.T.reshape(*real.shape, n), 0)
        middle = jnp.mean(z, -1) if intercept else jnp.zeros(real.shape, z.dtype)
        centred = z - middle[..., None]
        spread = jnp.sqrt(jnp.mean(centred**2, -1))
        moves = spread > 1e-6 * jnp.maximum(jnp.abs(middle), 1e-30)
        safe = jnp.where(moves, spread, 1)
        # Scaled columns keep the systems well conditioned in float32; the ridge is scaled alike.
        scaled = jnp.where(moves[..., None], centred / safe[..., None], 0)
        design = jnp.concatenate([scaled, jnp.ones((len(z), 1, n), z.dtype)], 1)
        penalty = jnp.pad(ridge / safe**2, ((0, 0), (0, 1)))
        one = lambda part: solve(part[0], part[1], y, omega, most, intercept)
        accelerated = jax.default_backend() != "cpu"
        theta, value, converged, turns = jax.lax.map(
            one, (design, penalty), batch_size=len(z) if accelerated else None
        )
        weights = jnp.where(moves, theta[:, :-1] / safe, 0)
        bias = theta[:, -1] - jnp.sum(weights * middle, -1)
        found = {"weights": weights, "bias": bias, "value": value, "converged": converged}
        size = jnp.sum(jnp.abs(middle) + spread, -1)  # finite where the columns are
        return {**found, "iterations": turns, "size": size}

    return jax.jit(block)


def factored(curve: Array, design: Array, penalty: Array, intercept: bool) -> tuple[Array, bool]:
    """The Cholesky factor of $X \\mathrm{diag}(c) X^T$ with the penalty, for a design `(k + 1, n)`."""
    h = jnp.matmul(design * curve[None], design.T, precision="highest")
    diagonal = jnp.diagonal(h) * 1e-6 + 1e-12 + penalty
    if not intercept:
        # The bias stays where it is: its row is that of a one alone.
        keep = jnp.arange(len(h)) < len(h) - 1
        h = jnp.where(keep[:, None] & keep[None], h, 0)
        diagonal = diagonal + jnp.where(keep, 0, np.float32(1))
    return jax.scipy.linalg.cho_factor(h + jnp.diag(diagonal))


def solve_logistic(
    design: Array, penalty: Array, y: Array, omega: Array, most: Array, intercept: bool
) -> Fitted:
    """Newton's method on one support."""
    free = jnp.ones_like(penalty).at[-1].set(1 if intercept else 0)

    def evaluate(point: tuple[Array, ...]) -> NewtonPass:
        (theta,) = point
        p, variance = slope_and_curve(y * jnp.matmul(theta, design, precision="highest"))
        mass = omega * p
        gradient = free * jnp.matmul(design, -y * mass, precision="highest") + penalty * theta
        step = jax.scipy.linalg.cho_solve(factored(omega * variance, design, penalty, intercept), gradient)
        return NewtonPass((gradient,), (step,), jnp.sum(mass) + jnp.sum(penalty * theta**2) / 2)

    def dot(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        return jnp.vdot(a[0], b[0], precision="highest")

    (theta,), converged, turns = newton(evaluate, dot, (jnp.zeros_like(penalty),), jnp.float32(0), most)
    loss = log_loss(y * jnp.matmul(theta, design, precision="highest"))
    value = jnp.vdot(omega, loss, precision="highest") + jnp.sum(penalty * theta**2) / 2
    return Fitted(theta, value, converged, turns)


def solve_squared(
    design: Array, penalty: Array, y: Array, omega: Array, most: Array, intercept: bool
) -> Fitted:
    """The closed form on one support, refined twice by its own residual.

    In float32 the closed form alone loses digits; `_least_squares.py` has it in float64.
    """
    factor = factored(omega, design, penalty, intercept)
    free = jnp.ones_like(penalty).at[-1].set(1 if intercept else 0)
    theta = jnp.zeros_like(penalty)
    decrement = jnp.float32(0)
    for _ in range(3):
        error = y - jnp.matmul(theta, design, precision="highest")
        gradient = free * jnp.matmul(design, error, precision="highest") - penalty * theta
        step = jax.scipy.linalg.cho_solve(factor, gradient)
        decrement = jnp.vdot(gradient, step, precision="highest")
        theta = theta + step
    error = y - jnp.matmul(theta, design, precision="highest")
    total = jnp.vdot(error, error, precision="highest") + jnp.sum(penalty * theta**2)
    scale = jnp.vdot(y, y, precision="highest")
    return Fitted(theta, total / (2 * len(y)), decrement <= 1e-8 * scale, jnp.int32(3))
