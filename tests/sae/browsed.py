"""A made-up dictionary, its model and what was read of it: feature 3 never fires, every second token is hostile."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp as ji

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"
N = 40


class Words:
    """Strings of made-up tokens, one of them hostile."""

    def tokens(self, ids: Any) -> list[str]:
        return [HOSTILE if i == 7 else f"t{i}" for i in np.asarray(ids)]


def made() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    config = ji.models.GPT2Config(vocab=30, ctx=8, layers=1, d=4, heads=2)
    shapes = jax.eval_shape(lambda: ji.models.GPT2.init(config, key=jax.random.key(0)))
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    model = jax.tree.map(lambda leaf: draw(*leaf.shape), shapes)
    sae = ji.sae.Standard(d=4, features=N).dictionary(
        encoder=draw(4, N),
        decoder=draw(N, 4),
        bias=draw(4),
        encoder_bias=draw(N),
        scale=jnp.float32(0.5),
    )
    fires = np.arange(N) != 3
    values = np.sort(rng.random((N, 3)) + 1)[:, ::-1].astype(np.float32)
    values[3] = np.nan
    seq = np.where(fires[:, None], rng.integers(0, 6, (N, 3)), -1)
    tokens = rng.integers(8, 30, (6, 8), dtype=np.int32)
    tokens[:, ::2] = 7
    maximum = np.where(fires, np.nan_to_num(values[:, 0]), 0)
    around = np.repeat(np.nan_to_num(values)[..., None], 4, 2) * [0, 0.5, 1, np.nan]
    read = ji.sae.Examples(
        features=np.arange(N),
        values=values,
        seq=seq,
        pos=np.where(seq < 0, -1, 1),
        activations=around,
        interval_values=values[:, :2, None],
        interval_seq=seq[:, :2, None],
        interval_pos=np.where(seq < 0, -1, 6)[:, :2, None],
        interval_activations=around[:, :2, None],
        fired=np.where(fires, np.arange(N) + 1, 0),
        maximum=maximum,
        mean=maximum / 2,
        counts=np.where(fires[:, None], [[3, 0, 2, 0]], 0),
        width=np.ones(N),
        count=1000,
        tokens=tokens,
        real=np.ones(tokens.shape, bool),
        before=2,
    )
    return sae, model, read
