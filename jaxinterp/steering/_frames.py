r"""Orthonormal frames by reflections, $Q = I_k - V_k^\top T^\top V$: exact at every parameter, with a gradient.

The product of the reflections $I - 2 \hat v_i \hat v_i^\top$ is $I - \hat V^\top T \hat V$, where the inverse of $T$ is
the upper triangle of $\hat V \hat V^\top$ with halves on its diagonal (Joffrain et al. 2006,
https://doi.org/10.1145/1141885.1141886). Its first k columns reach every frame of k directions.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def frame(vectors: Float[Array, "k d"]) -> Float[Array, "k d"]:
    """Orthonormal rows, from any k vectors that are not zero."""
    k = vectors.shape[-2]
    unit = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    inner = jnp.einsum("id,jd->ij", unit, unit, precision="highest")
    inverse = jnp.tril(inner, -1) + 0.5 * jnp.eye(k, dtype=unit.dtype)
    solved = jax.scipy.linalg.solve_triangular(inverse, unit, lower=True)
    reflected = jnp.einsum("ji,jd->id", unit[:, :k], solved, precision="highest")
    return jnp.eye(k, vectors.shape[-1], dtype=unit.dtype) - reflected


def boundary_weights(boundary: Float[Array, ""], k: int, temperature: Float[Array, ""]) -> Float[Array, " k"]:
    r"""$\sigma\big((b - i - \tfrac12) / T\big)$: how much each of k directions counts, by a boundary in 0..1 of them."""
    place = (jnp.arange(k, dtype=boundary.dtype) + 0.5) / k
    return jax.nn.sigmoid((boundary - place) * k / temperature)


def hard_weights(boundary: Float[Array, ""], k: int) -> Float[Array, " k"]:
    """The limit of `boundary_weights` at temperature 0: ones, then zeros."""
    return ((jnp.arange(k, dtype=boundary.dtype) + 0.5) / k < boundary).astype(boundary.dtype)
