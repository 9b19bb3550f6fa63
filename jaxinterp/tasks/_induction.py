"""Induction: what followed a token once will follow it again."""

from typing import Any

import numpy as np

from .._deprecations import key_by_name
from ..typing import ArrayLike, KeyLike, TokenizerLike
from ._collect import check_request, one_of
from ._generator import generator
from ._pairs import Pairs

CORRUPTIONS = ("answer", "match", "block", "shuffle")


@key_by_name("ji.tasks.induction(tokenizer, n, key=jax.random.key(0))")
def induction(
    tokenizer: TokenizerLike | int,
    n: int,
    *,
    key: KeyLike,
    block: int = 25,
    repeats: int = 2,
    corrupt: str = "answer",
    ids: ArrayLike | None = None,
    bos: bool | int = False,
) -> Pairs:
    r"""$x_1 \ldots x_s\, x_1 \ldots x_{s-1} \mapsto x_s$: prompts of random tokens that are repeated.

    Olsson et al. 2022 (https://arxiv.org/abs/2209.11895).

    **Arguments:**

    - `tokenizer`: a tokenizer, or the size of a vocabulary, an int.
    - `n`: the number of pairs.
    - `key`: a `jax.random.key`.
    - `block`: the number of different tokens in a round.
    - `repeats`: the number of rounds. The last round lacks its last token, which is the answer.
    - `corrupt`: `"answer"` puts another token wherever the answer stood before, so that this token is copied.
      `"match"` exchanges two tokens of the earlier rounds, so that another token followed the last one (an
      induction head learns this from a previous-token head). `"block"` puts new tokens into all rounds but the last,
      so that nothing can be copied. `"shuffle"` takes the prompt of another example.
    - `ids`: the tokens to draw from. By default those in the middle of the vocabulary: byte-pair vocabularies are
      ordered by frequency, and where there are more than 600 tokens the first 257 (bytes and the like) and the last
      tenth are left out.
    - `bos`: True, or the id of BOS where `tokenizer` is an int.

    **Returns:** a `Pairs` with the positions `A` (of the last token in the round before), `B` (of the answer in the
    round before, `A` + 1) and `END`. `about["predictable"]`, bool (n, pos), is True at the positions
    whose next token has followed their token before.

    ```python
    pairs = ji.tasks.induction(tokenizer, 16, key=jax.random.key(0), bos=True)
    pairs = ji.tasks.induction(26, 16, key=jax.random.key(0), block=4)              # no tokenizer: 26 ids
    ```

    Law: at every predictable position the next token is the one that followed before.
    """
    n = check_request("induction", n, None)
    one_of("induction", "corrupt", corrupt, CORRUPTIONS)
    if block < 2 or repeats < 2:
        raise ValueError(
            "ji.tasks.induction: a block of at least 2 tokens comes at least twice; got "
            f"block={block}, repeats={repeats}."
        )
    if corrupt == "match" and block < 3:
        raise ValueError(f"corrupt='match' moves a token within a block of 3 or more; got {block}.")
    if corrupt == "shuffle" and n < 2:
        raise ValueError("corrupt='shuffle' takes another example of the batch: ask for n >= 2.")
    rng = generator(key)
    vocab, start = _vocabulary(tokenizer, bos)
    pool = np.setdiff1d(_middle(vocab) if ids is None else np.asarray(ids), start)
    if pool.size and not np.issubdtype(pool.dtype, np.integer):
        raise ValueError(f"ji.tasks.induction: ids are token ids, ints; got dtype {pool.dtype}.")
    if pool.size and (pool[0] < 0 or pool[-1] >= vocab):
        raise IndexError(f"ji.tasks.induction: ids lie in 0..{vocab - 1}; got {pool[[0, -1]]}.")
    if len(pool) < 2 * block:
        raise ValueError(
            f"ji.tasks.induction draws {2 * block} different tokens for a pair; there are {len(pool)} "
            f"to draw from. Take a smaller block (at most {len(pool) // 2}), or more ids."
        )
    drawn = np.stack([rng.choice(pool, 2 * block, replace=False) for _ in range(n)])
    first, fresh = drawn[:, :block], drawn[:, block:]
    rounds = np.tile(first, (1, repeats))[:, :-1]
    correct, wrong = first[:, -1], fresh[:, -1]
    if corrupt == "answer":
        other = np.where(rounds == correct[:, None], wrong[:, None], rounds)
    elif corrupt == "match":
        order, middle = np.arange(block), (block - 2) // 2
        order[[middle, block - 2]] = order[[block - 2, middle]]
        moved = first[:, order]
        other = np.concatenate([np.tile(moved, (1, repeats - 1)), first[:, :-1]], 1)
        wrong = moved[:, middle + 1]
    elif corrupt == "block":
        other = np.concatenate([np.tile(fresh, (1, repeats - 1)), first[:, :-1]], 1)
    else:
        other, wrong = np.roll(rounds, 1, 0), np.roll(correct, 1, 0)
    lead = np.tile(np.asarray(start, np.int32), (n, 1))
    clean, changed = (np.concatenate([lead, rows], 1).astype(np.int32) for rows in (rounds, other))
    size, begin = clean.shape[1], len(start)
    end = np.full(n, size - 1, np.int32)
    predictable = np.broadcast_to(np.arange(size) >= begin + block, clean.shape).copy()
    where = {"A": end - block, "B": end - block + 1, "END": end}
    return Pairs(
        name="induction",
        clean=clean,
        corrupt=changed,
        correct=correct.astype(np.int32),
        wrong=wrong.astype(np.int32),
        mask=np.ones(clean.shape, bool),
        positions={name: value.astype(np.int32) for name, value in where.items()},
        texts=[_text(tokenizer, row) for row in clean],
        corrupt_texts=[_text(tokenizer, row) for row in changed],
        kinds=[f"{repeats} rounds of {block}"] * n,
        dropped=[],
        corruption=corrupt,
        about={"predictable": predictable},
    )


def _vocabulary(tokenizer: Any, bos: bool | int) -> tuple[int, list[int]]:
    """Its size, and the ids with which a prompt begins."""
    if isinstance(tokenizer, int | np.integer) and not isinstance(tokenizer, bool):
        if bos is True:
            raise ValueError("With a vocabulary's size in place of a tokenizer, bos is an id: bos=0.")
        return int(tokenizer), [] if bos is False else [int(bos)]
    size = getattr(tokenizer, "vocab", None)
    if not isinstance(size, int | np.integer):
        raise ValueError(
            "ji.tasks.induction takes a tokenizer or the size of a vocabulary; got "
            f"{type(tokenizer).__name__}. Write ji.tasks.induction(model.config.vocab, n, key=key)."
        )
    start: Any = getattr(tokenizer, "bos_id", None) if bos is True else bos
    if start is None:
        raise ValueError("This tokenizer has no BOS token: build the task with bos=False.")
    return int(size), [] if start is False else [int(start)]


def _middle(vocab: int) -> np.ndarray:
    low, high = (257, int(0.9 * vocab)) if vocab > 600 else (0, vocab)
    return np.arange(low, high, dtype=np.int32)


def _text(tokenizer: Any, row: np.ndarray) -> str:
    if hasattr(tokenizer, "decode"):
        return str(tokenizer.decode(row))
    return " ".join(str(i) for i in row)
