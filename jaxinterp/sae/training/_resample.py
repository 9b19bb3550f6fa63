r"""Resampling of dead features, as Towards Monosemanticity does it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..kinds._losses import Progress
from ..kinds._rows import align, unit_norm


@eqx.filter_jit
def resample(key: Any, sae: Any, moments: Any, dead: Any, x: Any, *, centre: bool = True) -> Any:
    r"""$d_i \leftarrow v / \lVert v \rVert$ for every dead i, with inputs v drawn in proportion to $\ell(v)^2$.

    $\ell$ is the whole loss of one input as the dictionary is trained by it, of `Vanilla` its error
    and its sparsity. The encoder's column becomes the same direction times 0.2 of the mean norm of those alive (1 where
    none is), its bias 0, and the optimiser's moments of all three 0. Bricken et al. 2023.

    **Arguments:** `key`; `sae`; `moments`: trees of the optimiser with the form of the parameters;
    `dead (features,)`; `x (n, d)` a large sample; `centre`: draw v less the bias, rather than v.

    **Returns:** the dictionary and the moments.

    Law: with none dead, nothing changes; rows of the new encoder have 0.2 of the mean norm; an input
    is drawn four times as often as one of half its loss.
    """
    now = Progress(jnp.int32(0), jnp.float32(1), jnp.zeros_like(dead))
    loss = jax.vmap(lambda row: sae.loss(row[None], row[None], now).total)(x)
    drawn = jax.random.categorical(key, 2 * jnp.log(jnp.maximum(loss, 1e-30)), shape=dead.shape)
    v = unit_norm((x * sae.scale - align(sae.bias, x) if centre else x * sae.scale)[drawn])
    norms = jnp.linalg.norm(sae.encoder, axis=0)
    alive = jnp.sum(jnp.where(dead, 0, norms)) / jnp.maximum(jnp.sum(~dead, dtype=jnp.float32), 1)
    size = jnp.where(jnp.any(~dead), 0.2 * alive, 1.0)
    sae = sae.replace(
        encoder=jnp.where(dead[None], v.T * size, sae.encoder),
        encoder_bias=jnp.where(dead, 0, sae.encoder_bias),
        decoder=jnp.where(dead[:, None], v, sae.decoder),
    )

    def reset(tree: Any) -> Any:
        return tree.replace(
            encoder=jnp.where(dead[None], 0, tree.encoder),
            encoder_bias=jnp.where(dead, 0, tree.encoder_bias),
            decoder=jnp.where(dead[:, None], 0, tree.decoder),
        )

    is_like = lambda node: isinstance(node, type(sae))
    moments = jax.tree.map(lambda node: reset(node) if is_like(node) else node, moments, is_leaf=is_like)
    return sae, moments
