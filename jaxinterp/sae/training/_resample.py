r"""Resampling of dead features, as Towards Monosemanticity does it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._deprecations import key_by_name, respelled
from ...typing import KeyLike, PyTree
from ..kinds._dictionary import Dictionary
from ..kinds._losses import Progress
from ..kinds._rows import align, unit_norm


@key_by_name("ji.sae.resample(sae, optimizer_state, dead, x, key=key)")
@respelled(moments="optimizer_state=")
@eqx.filter_jit
def resample(
    sae: Dictionary,
    optimizer_state: PyTree,
    dead: Bool[Array, " feature"],
    x: Float[Array, "n d"],
    *,
    key: KeyLike,
    centre: bool = True,
) -> tuple[Dictionary, PyTree]:
    r"""$d_i \leftarrow v / \lVert v \rVert$ for each dead i, with inputs v drawn in proportion to $\ell(v)^2$.

    $\ell$ is the whole training loss of one input: for `Vanilla` its error and its sparsity. The encoder's column becomes
    the same direction times 0.2 of the mean norm of the columns of alive features (1 where no feature is alive). The
    encoder's bias becomes 0, and so do the optimizer's moments of all three. Bricken et al. 2023
    (https://transformer-circuits.pub/2023/monosemantic-features).

    **Arguments:**

    - `sae`: the dictionary.
    - `optimizer_state`: the state of an optimizer of optax, with trees of the form of the dictionary in it.
    - `dead`: `(feature,)`, True at the features to draw anew.
    - `x`: `(n, d)`, a large sample of inputs.
    - `key`: a `jax.random.key`.
    - `centre`: whether the bias is subtracted from v; True by default.

    **Returns:** the dictionary and the state of the optimizer.

    ```python
    sae = ji.sae.Vanilla(d=160, features=320).init(key, x)
    optimizer_state = optax.adam(1e-3).init(sae)
    dead = (sae.encode(x) == 0).all(0)                  # features that never fire on x
    sae, optimizer_state = ji.sae.resample(sae, optimizer_state, dead, x, key=jax.random.key(0))
    ```

    Law: with no dead features nothing changes; new columns of the encoder have 0.2 of the mean norm; an input
    is drawn four times as often as one with half its loss.
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
    state = jax.tree.map(
        lambda node: reset(node) if is_like(node) else node, optimizer_state, is_leaf=is_like
    )
    return sae, state
