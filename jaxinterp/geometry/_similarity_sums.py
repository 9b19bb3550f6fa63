"""What a batch says of how alike layers are: HSIC of groups of tokens, or products of all tokens."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..corpus._batches import Batch
from ..corpus._fold import captured
from ..nn._linear import einsum
from ..stats._hsic import unbiased_hsic
from ._kernels import gram


class LayerPair(eqx.Module):
    """From a batch to the layers of both models, `(layer, token, p)` in float32, and which tokens count.

    - `other`: the second model, or None where the first one is both.
    - `stacked`: whether the site comes with an axis of layers.
    """

    other: Any
    site: str = eqx.field(static=True)
    stacked: bool = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> tuple[Array, Array, Bool[Array, " token"]]:
        a = self._layers(batch, acts[self.site])
        b = a
        if self.other is not None:
            b = self._layers(batch, captured(self.other, [self.site], batch)[self.site])
        return a, b, batch.positions.reshape(-1)

    def _layers(self, batch: Batch, x: Array) -> Array:
        layers, tokens = (x.shape[0] if self.stacked else 1), batch.positions.size
        x = x.reshape(layers, tokens, x.size // (layers * tokens))
        # What does not count may be anything, NaN too.
        return jnp.where(batch.positions.reshape(1, -1, 1), x.astype(jnp.float32), 0)


class GroupSums(eqx.Module):
    """Unbiased HSIC of groups of `points` tokens, all pairs of layers; sums weighted by tokens.

    The k-th token that counts is in group k mod G, so that a group holds tokens of every row.
    """

    pair: LayerPair
    bandwidth: Any
    points: int = eqx.field(static=True)
    kernel: str = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> dict[str, Array]:
        a, b, counted = self.pair(batch, acts)
        order, number = jnp.argsort(~counted, stable=True), counted.sum()
        points = min(self.points, len(counted))
        most = -(-len(counted) // points)
        groups = jnp.maximum(-(-number // points), 1)

        def add(total: dict[str, Array], group: Array) -> tuple[dict[str, Array], None]:
            k = jnp.arange(points) * groups + group
            there = (k < number) & (group < groups)
            chosen = order[jnp.minimum(k, len(counted) - 1)]
            grams = lambda x: jax.vmap(lambda z: gram(z, self.kernel, self.bandwidth, there))(x[:, chosen])
            ka = grams(a)
            kb = ka if self.pair.other is None else grams(b)
            size = there.sum()
            weight = jnp.where(size > 3, size, 0).astype(jnp.float32)
            one = lambda k: jax.vmap(lambda z: unbiased_hsic(z[None], z[None], there)[0, 0])(k)
            cross = unbiased_hsic(ka, kb, there)
            both = (jnp.diagonal(cross),) * 2 if kb is ka else (one(ka), one(kb))
            found = {"cross": cross, "own": both[0], "other": both[1]}
            found = {name: jnp.where(size > 3, weight * value, 0) for name, value in found.items()}
            found["weight"] = weight
            return jax.tree.map(jnp.add, total, found), None

        return jax.lax.scan(add, group_zeros(len(a), len(b)), jnp.arange(most))[0]


def group_zeros(a: int, b: int) -> dict[str, Array]:
    """What `GroupSums` begins with, for so many layers."""
    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
    return {"cross": zeros(a, b), "own": zeros(a), "other": zeros(b), "weight": zeros()}


class MeanSums(eqx.Module):
    """Sums of both sides' layers and how many tokens count: the first reading of `points=None`."""

    pair: LayerPair

    def __call__(self, batch: Batch, acts: Any) -> dict[str, Array]:
        a, b, counted = self.pair(batch, acts)
        found = {"a": a.sum(1), "count": counted.sum().astype(jnp.float32)}
        return found if self.pair.other is None else found | {"b": b.sum(1)}


class ProductSums(eqx.Module):
    r"""Products $X_a^\top Y_b$ about given means, all pairs of layers: the second reading of `points=None`.

    `means`: of both sides, `(layer, p)`.
    """

    pair: LayerPair
    means: tuple[Array, Array]

    def __call__(self, state: dict[str, Array], batch: Batch, acts: Any) -> dict[str, Array]:
        a, b, counted = self.pair(batch, acts)
        a, b = (
            jnp.where(counted[None, :, None], x - mean[:, None], 0)
            for x, mean in zip((a, b), self.means, strict=True)
        )
        pattern = "anp,bnq->abpq"
        size_a, size_b = (jnp.square(x).sum(-1) for x in (a, b))  # (layer, token)
        found = {
            "cross": einsum(pattern, a, b),
            "pairs": einsum("an,bn->ab", size_a, size_b),
            "a": size_a.sum(1),
            "b": size_b.sum(1),
        }
        if self.pair.other is not None:
            for name, x, size in (("own", a, size_a), ("other", b, size_b)):
                found[name] = einsum("anp,anq->apq", x, x)
                found[f"{name}_pairs"] = jnp.square(size).sum(1)
        return jax.tree.map(jnp.add, state, found)


def product_zeros(a: Float[Array, "a p"], b: Float[Array, "b q"], same: bool) -> dict[str, Array]:
    """What `ProductSums` begins with, for means of these shapes."""
    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
    (m, p), (n, q) = a.shape, b.shape
    found = {"cross": zeros(m, n, p, q), "pairs": zeros(m, n), "a": zeros(m), "b": zeros(n)}
    if same:
        return found
    more = {"own": zeros(m, p, p), "other": zeros(n, q, q)}
    return found | more | {"own_pairs": zeros(m), "other_pairs": zeros(n)}
