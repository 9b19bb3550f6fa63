"""Random tokens that come again: prompts on which only the context can foretell anything."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ..core._check import check_key


def repeated_tokens(
    key: Any,
    config: Any,
    *,
    block: int | None = None,
    repeats: int = 2,
    batch: int = 8,
    bos: int | None = None,
    ids: Any = None,
) -> Int[Array, "batch pos"]:
    r"""$(b,)\ x_1 \ldots x_s\ x_1 \ldots x_s \ldots$: blocks of $s$ different random tokens, several times over.

    Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).

    **Arguments:**

    - `key`: a JAX key, which may be traced; `config`: the model's, for its `vocab` and `ctx`.
    - `block`: how many tokens; by default 50, or as many as fit the context and the vocabulary.
    - `repeats`: how often they come; `batch`: how many prompts.
    - `bos`: the id with which every prompt begins, or None. A model that was trained with BOS rests
      its attention there, and scores without it are lower.
    - `ids`: the tokens to draw from. By default the middle of the vocabulary: byte-pair vocabularies
      are ordered by frequency, and the first 257 ids (bytes and the like) and the last tenth are left
      out where there are more than 600.

    **Returns:** int32 (batch, pos), pos = repeats * block, and one more with `bos`.

    ```python
    tokens = ji.heads.repeated_tokens(jax.random.key(0), model.config, bos=tokenizer.bos_id)
    ```

    Law: each prompt is one block of different tokens, `repeats` times.
    """
    return draw_blocks(key, config, block, repeats, batch, bos, ids, 50)


def draw_blocks(
    key: Any, config: Any, block: Any, repeats: int, batch: int, bos: Any, ids: Any, longest: int
) -> Int[Array, "batch pos"]:
    """As `repeated_tokens`; without `block`, blocks are at most `longest`."""
    vocab, room = config.vocab, config.ctx - (bos is not None)
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (0, vocab)
    pool = np.arange(low, high) if ids is None else np.unique(np.asarray(ids))
    if pool.size and (pool[0] < 0 or pool[-1] >= vocab):
        raise IndexError(f"Token ids lie in 0..{vocab - 1}; ids has {pool[0]}..{pool[-1]}.")
    if bos is not None:
        if not 0 <= bos < vocab:
            raise IndexError(f"bos is a token id, 0..{vocab - 1}; got {bos}.")
        pool = pool[pool != bos]
    if repeats < 1 or batch < 1:
        raise ValueError(
            f"Tokens come at least once in at least one prompt; got repeats={repeats}, batch={batch}."
        )
    most = min(room // repeats, len(pool))
    size = min(longest, most) if block is None else block
    if size < 2 or size > most:
        raise ValueError(
            f"A block has from 2 to {most} tokens here: {repeats} rounds of it fit a context of "
            f"{config.ctx}, and {len(pool)} tokens can be drawn; got block={block}."
        )
    choices = jnp.asarray(pool, jnp.int32)
    draw = jax.vmap(lambda key: jax.random.choice(key, choices, (size,), replace=False))
    keys = jax.random.split(check_key(key, "ji.heads.repeated_tokens({}, model.config)"), batch)
    rows = jnp.tile(draw(keys), (1, repeats))
    if bos is None:
        return rows
    return jnp.concatenate([jnp.full((batch, 1), bos, jnp.int32), rows], axis=1)
