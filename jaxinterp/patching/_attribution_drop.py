"""GradDrop: the same gradient, which does not pass through the contribution of one layer.

Only backward passes differ from layer to layer. One forward pass serves as many of them as fit into memory.
Kramar et al. 2024, https://arxiv.org/abs/2403.00745.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool

from ..core._check import Shapes
from ..core._edit import Edit
from ..core._select import Layers
from ..core._sites import is_per_layer

BACKWARD_BYTES = 2**30
"Bytes of one block's sites, with one copy for each backward pass that runs at once."
UNNAMED = ("q_in", "k_in", "v_in", "head_out")
"Sites that no gradient holds."


class Closed(Edit):
    """Leaves values as they are, and lets no gradient pass at the sites of the layers where `shut` is True."""

    shut: Bool[Array, " layer"]
    sites: tuple[str, ...] = eqx.field(static=True)
    layers: Layers = eqx.field(static=True, default=None)

    def per_layer(self, shapes: Shapes) -> Any:
        return jax.tree.map(lambda _: True, self)

    def apply(self, tap: Any, site: str, x: Array, state: Any) -> tuple[Array, Any]:
        return _closed(x, self.shut), state


@jax.custom_jvp
def _closed(x: Array, shut: Array) -> Array:
    """`x`; its value does not depend on `shut`, so that under `vmap` over layers it is computed once."""
    return x


@_closed.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    x, shut = primals
    along = jnp.where(jnp.broadcast_to(shut, x.shape), jnp.zeros_like(tangents[0]), tangents[0])
    return _closed(x, shut), along


def mean_over_drops(
    gradients: Callable[[Sequence[Edit]], dict[str, Array]], shapes: Shapes, count: int
) -> dict[str, Array]:
    r"""$\sum_\ell g_\ell / (L - 1)$, for $g_\ell$ = `gradients` of edits that close layer $\ell$.

    **Arguments:**

    - `gradients`: what is averaged, given edits to add behind all others.
    - `shapes`: those of the sites; `count`: the number of layers $L$.
    """
    sites = tuple(site for site in ("attn_out", "mlp_out") if site in shapes)
    number = jnp.arange(count, dtype=jnp.int32)

    def dropped(layer: Array) -> dict[str, Array]:
        return gradients([Closed(shut=number == layer, sites=sites)])

    steps = -(-count // _passes(shapes))
    size = -(-count // steps)
    layers = jnp.minimum(jnp.arange(steps * size, dtype=jnp.int32), count - 1).reshape(steps, size)
    several = lax.map(jax.vmap(dropped), layers) if steps > 1 else jax.vmap(dropped)(layers[0])
    # The last step may hold the last layer some more times.
    joined = lambda leaf: leaf.reshape(steps * size, *leaf.shape[1 + (steps > 1) :])[:count]
    return jax.tree.map(lambda leaf: joined(leaf).sum(0) / (count - 1), several)


def _passes(shapes: Shapes) -> int:
    """How many backward passes run together."""
    kept = [one for name, one in shapes.items() if is_per_layer(name) and name not in UNNAMED]
    return max(1, BACKWARD_BYTES // sum(int(np.prod(one.shape)) * one.dtype.itemsize for one in kept))
