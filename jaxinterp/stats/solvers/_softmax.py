r"""Softmax regression by Newton's method with conjugate gradients, and what its dual proves.

$$P(W, b) = \sum_i \omega_i\,\bigl(\mathrm{lse}(W^\top x_i + b) - (W^\top x_i + b)_{y_i}\bigr) + \tfrac{\rho}{2} \lVert W \rVert^2$$

With $p_i$ the probabilities at $(W, b)$ and any $q_i$ in the simplex with
$\sum_i \omega_i (q_i - e_{y_i}) = 0$, the gap between $P$ and the dual at $q$ is
$\sum_i \omega_i \mathrm{KL}(q_i \Vert p_i) + \frac{1}{2\rho} \lVert \rho W + X^\top \omega (q - e_y) \rVert^2$:
a sum of what is at least 0, so that float32 can measure it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

NEVER = -1e30
"""The logit of a class that no example has: no probability, and no gradient."""


def reduced(x: Any) -> tuple[Any, Any, Any]:
    """x `(n, d)` as `(z, basis, middle)` with `x = z basis^T + middle` and at most n columns.

    The ridge does not see a rotation, so that with more features than examples the optimum lies
    in the span of the examples. Centred: the bias takes up the means.
    """
    middle = x.mean(0)
    z = x - middle[None]
    if x.shape[1] <= x.shape[0]:
        return z, None, middle
    basis, upper = jnp.linalg.qr(z.T)
    return upper.T, basis, middle


def preconditioner(gram: Any, counts: Any, ridge: Any, classes: int) -> Any:
    r"""$(Z^\top Z / c + \rho I)^{-1}$, a preconditioner: the curvature where all classes are equally likely.

    It belongs to z and is shared by all labels. Damped, so that float32 can invert it.
    """
    own = jnp.eye(len(gram), dtype=gram.dtype)
    curve = gram * (counts.mean() / classes) + ridge * own
    unit = lax.rsqrt(jnp.diag(curve))
    noise = 4 * jnp.finfo(gram.dtype).eps * len(gram)
    lower = jnp.linalg.cholesky(curve * unit[:, None] * unit[None] + noise * own)
    half = jax.scipy.linalg.solve_triangular(lower, own, lower=True)
    half = jnp.where(jnp.isfinite(half).all(), half, own) * unit[None]
    return half.T @ half


def minimise(
    z: Any, turned: Any, damped: Any, y: Any, omega: Any, ridge: Any, tol: Any, max_iter: int
) -> dict[str, Any]:
    """One problem: z `(n, r)`, z transposed, its `preconditioner`, y `(n, c)` one-hot, omega `(n,)`."""
    classes = y.shape[1]
    mass = (omega[:, None] * y).sum(0)
    present = mass > 0

    def logits(w: Any, b: Any) -> Any:
        return jnp.where(present[None], z @ w + b[None], NEVER)

    def balanced(b: Any) -> Any:
        # A number added to all logits changes nothing: the mean over classes is kept at 0.
        b = jnp.where(present, b, 0)
        return jnp.where(present, b - b.sum() / present.astype(b.dtype).sum(), 0)

    def loss(m: Any, w: Any) -> Any:
        own = (m * y).sum(1)
        return (omega * (jax.nn.logsumexp(m, axis=1) - own)).sum() + ridge * (w * w).sum() / 2

    def precondition(v: Any, flat: Any) -> Any:
        return damped @ v[0], v[1] / flat

    def dot(a: Any, b: Any) -> Any:
        return (a[0] * b[0]).sum() + (a[1] * b[1]).sum()

    def newton(state: dict[str, Any]) -> dict[str, Any]:
        w, b, p = state["w"], state["b"], state["p"]
        slope = omega[:, None] * (p - y)
        right = (-(turned @ slope + ridge * w), -slope.sum(0))
        flat = (omega[:, None] * p * (1 - p)).sum(0) + 1e-6 * omega.sum() / classes

        def curved(v: Any) -> Any:
            s = z @ v[0] + v[1][None]
            t = omega[:, None] * p * (s - (p * s).sum(1, keepdims=True))
            return turned @ t + ridge * v[0], t.sum(0) + 1e-7 * flat * v[1]

        step, decrease = _conjugate(curved, lambda v: precondition(v, flat), right, dot)
        along = jnp.where(present[None], z @ step[0] + step[1][None], 0)
        m = logits(w, b)

        def trial(t: Any) -> Any:
            return loss(m + t * along, w + t * step[0])

        def good(t: Any) -> Any:
            return trial(t) <= state["value"] - 1e-4 * t * decrease + 3e-7 * state["value"]

        t = lax.while_loop(lambda t: ~good(t) & (t > 1e-6), lambda t: t / 2, jnp.float32(1))
        t = jnp.where(good(t), t, 0)  # where no step helps, rounding rules: the point stays
        w, b = w + t * step[0], b + t * step[1]
        b = balanced(b)
        m = logits(w, b)
        p = jax.nn.softmax(m, axis=1)
        value = loss(m, w)
        gap = duality_gap(turned, y, omega, mass, ridge, w, p, jax.nn.log_softmax(m, axis=1))
        best = gap < state["best"]["gap"]
        # Where rounding rules, the gap no longer falls: two such steps end the search.
        return {
            "w": w,
            "b": b,
            "p": p,
            "value": value,
            "gap": gap,
            "turns": state["turns"] + 1,
            "idle": jnp.where(gap < 0.7 * state["gap"], 0, state["idle"] + 1),
            "best": jax.tree.map(
                lambda new, old: jnp.where(best, new, old),
                {"w": w, "b": b, "value": value, "gap": gap},
                state["best"],
            ),
        }

    w = jnp.zeros((z.shape[1], classes), z.dtype)
    b = balanced(jnp.log(jnp.where(present, mass, 1)))
    m = logits(w, b)
    p = jax.nn.softmax(m, axis=1)
    value = loss(m, w)
    gap = duality_gap(turned, y, omega, mass, ridge, w, p, jax.nn.log_softmax(m, axis=1))
    start = {
        "w": w,
        "b": b,
        "p": p,
        "value": value,
        "gap": gap,
        "turns": jnp.int32(0),
        "idle": jnp.int32(0),
        "best": {"w": w, "b": b, "value": value, "gap": gap},
    }

    def going(state: dict[str, Any]) -> Any:
        short = state["best"]["gap"] > tol * state["best"]["value"]
        return short & (state["turns"] < max_iter) & (state["idle"] < 4)

    end = lax.while_loop(going, newton, start)
    best = end["best"]
    relative = best["gap"] / jnp.maximum(best["value"], 1e-30)
    return {
        "weights": best["w"],
        "bias": jnp.where(present, best["b"], -jnp.inf),
        "value": best["value"],
        "gap": relative,
        "converged": relative <= tol,
        "iterations": end["turns"],
    }


def duality_gap(turned: Any, y: Any, omega: Any, mass: Any, ridge: Any, w: Any, p: Any, log_p: Any) -> Any:
    """At least value less optimum, from the dual point next to the probabilities p."""
    # Each class must get the mass of its examples: what is too much is taken off in proportion,
    # and goes to the classes that lack some.
    have = (omega[:, None] * p).sum(0)
    excess = p * (jnp.maximum(have - mass, 0) / jnp.maximum(have, 1e-30))[None]
    lack = jnp.maximum(mass - have, 0)
    q = p - excess + excess.sum(1, keepdims=True) * (lack / jnp.maximum(lack.sum(), 1e-30))[None]
    u = (q - p) / jnp.where(p > 0, p, 1)
    near = p * u * u * (0.5 - u / 6 + u * u / 12)
    far = q * (jnp.log(jnp.where(q > 0, q, 1)) - log_p) - q + p
    terms = jnp.where(jnp.abs(u) < 0.02, near, jnp.where(q > 0, far, p))
    slope = turned @ (omega[:, None] * (q - y)) + ridge * w
    return (omega[:, None] * terms).sum() + (slope * slope).sum() / (2 * ridge)


def _conjugate(curved: Any, precondition: Any, right: Any, dot: Any, most: int = 200) -> Any:
    """Solves `curved(step) = right` to 3% of the norm at the start; and `right . step`."""
    zero = jax.tree.map(jnp.zeros_like, right)
    first = precondition(right)
    norm = dot(right, first)
    add = lambda a, b, size: jax.tree.map(lambda x, y: x + size * y, a, b)

    def turn(state: Any) -> Any:
        step, rest, way, old, count = state
        image = curved(way)
        size = old / jnp.maximum(dot(way, image), 1e-30)
        step, rest = add(step, way, size), add(rest, image, -size)
        new = precondition(rest)
        norm = dot(rest, new)
        return step, rest, add(new, way, norm / jnp.maximum(old, 1e-30)), norm, count + 1

    step, *_ = lax.while_loop(
        lambda s: (s[3] > 1e-3 * norm) & (s[4] < most) & (s[3] > 1e-30),
        turn,
        (zero, right, first, norm, jnp.int32(0)),
    )
    return step, dot(right, step)
