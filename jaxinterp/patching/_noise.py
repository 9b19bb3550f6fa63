r"""Corruption by noise: $e_i \mapsto e_i + \nu\,\epsilon$, the corrupt run of causal tracing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
from ..core._run import run


def noised(
    key: Any,
    model: Any,
    tokens: Any,
    pos: Any,
    *,
    scale: float | int | Any = 3.0,
    samples: int | Any = 8,
    std: Any | None = None,
) -> Float[Array, "samples pos d"]:
    r"""$e_i + \nu\,\epsilon,\; \epsilon \sim \mathcal{N}(0, 1)$ at the subject's positions, $\nu = 3\,\sigma_e$.

    Causal tracing, Meng et al. 2022 (https://arxiv.org/abs/2202.05262). Noise can push a model off
    what it was trained on and point elsewhere than a changed word does; compare both.

    **Arguments:** `key`; `model`; `tokens` `(pos,)`, the clean prompt; `pos`: the positions of the
    subject, ints or a mask; `scale` of the noise in deviations of the embedding; `samples`: how many
    draws; `std`: the deviation, by default that of all entries of the prompt's embeddings (the paper
    takes it over a data set: `model.w_embed[corpus].std()`).

    **Returns:** embeddings `(samples, pos, d)`, to be the corrupt prompts of `patching.sweep`; the clean
    one then serves all samples.

    ```python
    corrupt = ji.patching.noised(jax.random.key(0), model, clean, pos=[2, 3])
    ji.patching.sweep(model, clean, corrupt, ji.metrics.prob(answer), site="mlp_out", window=3)
    ```

    Law: other positions keep their embeddings, and `scale=0` keeps all.
    """
    check_key(key, "ji.patching.noised({}, model, tokens, pos)")
    tokens = as_tokens(tokens)
    check_tokens(tokens, config_of(model))
    if tokens.ndim != 1:
        raise ValueError(f"noised corrupts one prompt (pos,) many times; got the shape {tokens.shape}.")
    samples, scale = as_int(samples, "samples", 1), as_number(scale, "scale", 0, np.inf)
    std = None if std is None else as_number(std, "std", 0, np.inf)
    pos = as_selector(pos, "pos")
    check_selector("pos", pos, tokens.shape[-1], (), "noised")
    _, acts = run(model, tokens, capture=["embed"], logits=False)
    embeds = acts["embed"]
    if pos.dtype == bool:
        hit = jnp.asarray(pos)
    else:
        hit = jnp.zeros(tokens.shape, bool).at[jnp.asarray(pos)].set(True)
    wide = embeds.astype(np.promote_types(embeds.dtype, np.float32))
    nu = scale * (wide.std() if std is None else jnp.asarray(std, wide.dtype))
    noise = nu * jax.random.normal(key, (samples, *wide.shape), wide.dtype)
    noise = jnp.where(jnp.broadcast_to(hit[:, None], noise.shape), noise, 0)
    moved = jnp.broadcast_to(wide, noise.shape) + noise
    return moved.astype(embeds.dtype)
