"""Gram matrices: how alike each two examples are, by a linear or a Gaussian kernel."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._arguments import as_number
from ..nn._linear import einsum

KERNELS = ("linear", "rbf")


@dataclasses.dataclass(frozen=True)
class Gaussian:
    r"""The kernel $e^{-\lVert x_i - x_j \rVert^2 / 2 \sigma^2}$, as `ji.geometry.similarity` takes it.

    - `bandwidth`: $\sigma$ in medians of the distances; 1 by default, as in the kernel "rbf".

    ```python
    ji.geometry.similarity(model, model, corpus, kernel=ji.geometry.Gaussian(0.5))
    ```

    **Raises:** ValueError for a bandwidth that is not a number above 0.
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        as_number(self.bandwidth, "bandwidth", 1e-6, 1e6)


def gram(
    x: Float[Array, "n p"], kernel: str, bandwidth: Float[Array, ""], counted: Bool[Array, " n"]
) -> Float[Array, "n n"]:
    r"""$x_i \cdot x_j$ of centred rows, or $e^{-\lVert x_i - x_j \rVert^2 / 2 \sigma^2}$ with $\sigma$ in medians of the distances.

    Rows that do not count change nothing among those that do.
    """
    number = jnp.maximum(counted.sum(), 1).astype(x.dtype)
    # No mean changes HSIC; without it products are exact to more digits.
    x = jnp.where(counted[:, None], x, 0)
    x = jnp.where(counted[:, None], x - x.sum(0, keepdims=True) / number, 0)
    inner = einsum("ip,jp->ij", x, x)
    if kernel == "linear":
        return inner
    size = jnp.diagonal(inner)
    square = jnp.maximum(size[:, None] + size[None] - 2 * inner, 0)
    sigma = bandwidth * median_distance(square, counted)
    return jnp.exp(-square / (2 * jnp.maximum(sigma**2, jnp.finfo(x.dtype).tiny)))


def median_distance(square: Float[Array, "n n"], counted: Bool[Array, " n"]) -> Float[Array, ""]:
    """The median distance between two examples that count, from squared distances."""
    first, second = jnp.triu_indices(len(square), 1)
    pairs = counted[first] & counted[second]
    distance = jnp.where(pairs, square[first, second], jnp.inf)
    order, number = jnp.sort(distance), pairs.sum()
    middle = jnp.sqrt(order[jnp.stack([(number - 1) // 2, number // 2])])
    return middle.sum() / 2
