"""Random tokens that come again: prompts in which only the context says what comes next."""

from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._deprecations import key_by_name, respelled
from ..core._check import check_key
from ..typing import ArrayLike, ConfigLike, KeyLike


class Repeats(TypedDict, total=False):
    """Options of random prompts in which tokens come again; see `repeated_tokens`.

    ```python
    prompts: ji.heads.Repeats = {"block": 10, "repeats": 3, "batch_size": 2}
    ji.heads.induction_scores(model, key=jax.random.key(0), **prompts)
    ```
    """

    block: int | None
    repeats: int
    batch_size: int
    bos: int | None
    ids: ArrayLike | None


@key_by_name("ji.heads.repeated_tokens(model.config, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def repeated_tokens(
    config: ConfigLike,
    *,
    key: KeyLike,
    block: int | None = None,
    repeats: int = 2,
    batch_size: int = 8,
    bos: int | None = None,
    ids: ArrayLike | None = None,
) -> Int[Array, "batch pos"]:
    r"""$(b,)\ x_1 \ldots x_s\ x_1 \ldots x_s \ldots$: blocks of $s$ different random tokens, several times over.

    Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).

    **Arguments:**

    - `config`: that of the model, for its `vocab` and `ctx`.
    - `key`: a `jax.random.key`, which may be traced.
    - `block`: how many tokens a block has. By default 50, or as many as fit the context and the
      vocabulary.
    - `repeats`: how often the block comes; 2 by default.
    - `batch_size`: how many prompts; 8 by default.
    - `bos`: the id of the token before each prompt; None (the default): there is none. A model that was
      trained with BOS puts unused attention there, and scores without it are lower.
    - `ids`: token ids `(n,)` to draw from. By default the middle of the vocabulary: byte-pair
      vocabularies are ordered by frequency, and where there are more than 600 tokens the first 257 ids
      (bytes and the like) and the last tenth are left out.

    **Returns:** int32 `(batch, pos)` with pos = repeats * block, and one more with `bos`.

    **Raises:** ValueError for blocks that do not fit; IndexError for ids outside of the vocabulary.

    ```python
    tokens = ji.heads.repeated_tokens(model.config, key=jax.random.key(0), bos=tokenizer.bos_id)
    ```

    Law: each prompt is one block of different tokens, `repeats` times.
    """
    call = "ji.heads.repeated_tokens(model.config, key={})"
    return draw_blocks(
        config,
        check_key(key, call),
        block=block,
        repeats=repeats,
        rows=batch_size,
        bos=bos,
        ids=ids,
        longest=50,
    )


def draw_blocks(
    config: ConfigLike,
    key: KeyLike,
    *,
    block: int | None,
    repeats: int,
    rows: int,
    bos: int | None,
    ids: ArrayLike | None,
    longest: int,
) -> Int[Array, "batch pos"]:
    """As `repeated_tokens`, `(rows, pos)`; without `block`, blocks have at most `longest` tokens."""
    vocab, room = config.vocab, config.ctx - (bos is not None)
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (0, vocab)
    pool = np.arange(low, high) if ids is None else np.unique(np.asarray(ids))
    if pool.size and (pool[0] < 0 or pool[-1] >= vocab):
        raise IndexError(f"Token ids lie in 0..{vocab - 1}; ids has {pool[0]}..{pool[-1]}.")
    if bos is not None:
        if not 0 <= bos < vocab:
            raise IndexError(f"bos is a token id, 0..{vocab - 1}; got {bos}.")
        pool = pool[pool != bos]
    if repeats < 1 or rows < 1:
        raise ValueError(
            f"A block comes once at least, in one prompt at least; got repeats={repeats}, batch_size={rows}."
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
    prompts = jnp.tile(draw(jax.random.split(key, rows)), (1, repeats))
    if bos is None:
        return prompts
    return jnp.concatenate([jnp.full((rows, 1), bos, jnp.int32), prompts], axis=1)
