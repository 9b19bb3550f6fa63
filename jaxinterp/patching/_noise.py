r"""Corruption by noise: $e_i \mapsto e_i + \nu\,\epsilon$, the corrupt run of causal tracing."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._deprecations import key_by_name
from ..core._check import (
    as_int,
    as_number,
    as_selector,
    as_tokens,
    check_key,
    check_selector,
    check_tokens,
)
from ..core._intervene import config_of
from ..core._positions import selected
from ..core._run import run
from ..typing import FloatLike, IndexLike, IntLike, KeyLike, ModelLike, TokensLike


@key_by_name("ji.patching.noised(model, tokens, pos, key=jax.random.key(0))")
def noised(
    model: ModelLike,
    tokens: TokensLike,
    pos: IndexLike,
    *,
    key: KeyLike,
    scale: FloatLike = 3.0,
    samples: IntLike = 8,
    std: FloatLike | None = None,
) -> Float[Array, "samples pos d"]:
    r"""$e_i + \nu\,\epsilon,\; \epsilon \sim \mathcal{N}(0, 1)$ at the positions of the subject, $\nu = 3\,\sigma_e$.

    Causal tracing, Meng et al. 2022 (https://arxiv.org/abs/2202.05262). Embeddings with noise are unlike
    those that the model saw in training. So noise can give other results than another word does: compare both.

    **Arguments:**

    - `model`: the model whose embeddings get the noise.
    - `tokens`: the clean prompt `(pos,)`.
    - `pos`: the positions of the subject, ints or a mask.
    - `key`: a `jax.random.key`.
    - `scale`: the size of the noise, in standard deviations of the embeddings.
    - `samples`: how many noisy prompts.
    - `std`: the standard deviation $\sigma_e$, by default over all entries of the embeddings of the prompt. The
      paper takes it over a data set: `model.w_embed[corpus].std()`.

    **Returns:** embeddings `(samples, pos, d)`: the corrupt prompts for `ji.patching.sweep`, which compares all
    of them with the one clean prompt.

    ```python
    corrupt = ji.patching.noised(model, clean, [2, 3], key=jax.random.key(0))
    ji.patching.sweep(model, clean, corrupt, ji.metrics.prob(answer), site="mlp_out", adjacent=3)
    ```

    Law: other positions keep their embeddings, and `scale=0` keeps all.
    """
    check_key(key, "ji.patching.noised(model, tokens, pos, key={})")
    ids = as_tokens(tokens)
    check_tokens(ids, config_of(model))
    if ids.ndim != 1:
        raise ValueError(f"noised corrupts one prompt (pos,) many times; got the shape {ids.shape}.")
    samples, scale = as_int(samples, "samples", 1), as_number(scale, "scale", 0, np.inf)
    std = None if std is None else as_number(std, "std", 0, np.inf)
    where = as_selector(pos, "pos")
    check_selector("pos", where, ids.shape[-1], (), "noised")
    _, acts = run(model, ids, capture=["embed"], logits=False)
    embeds = acts["embed"]
    hit = selected(where, ids.shape[-1])
    wide = embeds.astype(np.promote_types(embeds.dtype, np.float32))
    nu = scale * (wide.std() if std is None else jnp.asarray(std, wide.dtype))
    noise = nu * jax.random.normal(key, (samples, *wide.shape), wide.dtype)
    noise = jnp.where(jnp.broadcast_to(hit[:, None], noise.shape), noise, 0)
    moved = jnp.broadcast_to(wide, noise.shape) + noise
    return moved.astype(embeds.dtype)
