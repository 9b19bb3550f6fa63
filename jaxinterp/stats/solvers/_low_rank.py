"""Softmax probes whose weights have a low rank, from the best of full rank."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ._softmax import NEVER


def low_rank(
    z: Any, y: Any, omega: Any, ridge: Any, tol: Any, rank: int, max_iter: int, full: dict[str, Any]
) -> dict[str, Any]:
    r"""$W = U V$ by L-BFGS from the singular vectors of the full solution; stationary, not proven.

    `converged` where the gradient, by the units of the start, is within `tol` of the value.
    """
    present = jnp.isfinite(full["bias"])
    u, s, v = jnp.linalg.svd(full["weights"], full_matrices=False)
    root = jnp.sqrt(s[:rank])
    # Columns of unequal spread would make long valleys: U is searched in units of each.
    unit = lax.rsqrt((omega[:, None] * z * z).sum(0) / y.shape[1] + ridge)
    start = (
        u[:, :rank] * root[None] / unit[:, None],
        v[:rank] * root[:, None],
        jnp.where(present, full["bias"], 0),
    )

    def loss(theta: Any) -> Any:
        u, v, b = theta
        w = (u * unit[:, None]) @ v
        m = jnp.where(present[None], z @ w + b[None], NEVER)
        nats = jax.nn.logsumexp(m, axis=1) - (m * y).sum(1)
        return (omega * nats).sum() + ridge * (w * w).sum() / 2

    solver = optax.lbfgs(memory_size=10)
    both = optax.value_and_grad_from_state(loss)

    def step(carry: Any) -> Any:
        theta, state, _, count = carry
        value, grad = both(theta, state=state)
        updates, state = solver.update(grad, state, theta, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(theta, updates), state, (value, optax.tree.norm(grad)), count + 1

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        first = (jnp.float32(1), jnp.float32(jnp.inf))
        theta, _, _, turns = lax.while_loop(
            lambda s: (s[2][1] ** 2 > tol * s[2][0]) & (s[3] < max_iter),
            step,
            (start, solver.init(start), first, jnp.int32(0)),
        )
        value, grad = jax.value_and_grad(loss)(theta)
    u, v, b = theta
    return {
        "weights": (u * unit[:, None]) @ v,
        "bias": jnp.where(present, b, -jnp.inf),
        "value": value,
        "gap": jnp.full_like(value, jnp.nan),
        "converged": optax.tree.norm(grad) ** 2 <= tol * value,
        "iterations": full["iterations"] + turns,
    }
