"""Prompts padded to one of a few lengths, so that one program serves many."""

import numpy as np

from ._arguments import as_array, as_int, as_mask, concrete
from .typing import IntLike, MaskLike, TokensLike


def bucket(
    tokens: TokensLike, *, mask: MaskLike | None = None, most: IntLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""$t \mapsto (t', m)$ with $|t'| \in \{8, 12, 16, 24, 32, 48, \dots\}$: pads prompts to the next of these lengths.

    Each new length of a prompt is a new program, which takes seconds to compile. Prompts of one bucket share
    one program. For prompts of 6 tokens or more, a bucket is at most 1.5 times as long as the prompt.

    **Arguments:**

    - `tokens`: ids `(*batch, pos)`, of NumPy or JAX, not traced.
    - `mask`: True at real tokens `(*batch, pos)`, if the prompts are padded already; all tokens are real by default.
    - `most`: the longest length that a bucket may have, such as `model.config.ctx`.

    **Returns:** the ids `(*batch, bucket)`, with zeros after the prompt, and the mask, True at real tokens. Give the
    mask to the call: positions then count real tokens, and `-1` is the last token of each prompt. In results an axis of
    positions has the length of the bucket; its first `pos` entries belong to the prompt.

    **Raises:** `ValueError` where `tokens` are no ids, the mask has another shape, or the prompt is longer
    than `most`. The idea is that of
    [bucketing](https://docs.jax.dev/en/latest/jit-compilation.html) for programs of fixed shapes.

    ```python
    clean, mask = ji.bucket(tokenizer("The King and the Queen"), most=model.config.ctx)
    logits, acts = ji.run(model, clean, mask=mask, logits=-1, capture=["resid_post"])
    ```

    Law: logits and activations at real tokens are those of the prompt without padding.
    """
    if isinstance(tokens, tuple):
        raise ValueError(
            "A tokenizer of several texts gives tokens and their mask: tokens, mask = tokenizer(texts), then "
            "tokens, mask = ji.bucket(tokens, mask=mask)."
        )
    if not concrete(tokens):
        raise ValueError("bucket decides a shape, so its tokens cannot be traced: call it before jax.jit.")
    ids = np.asarray(as_array(tokens, "bucket: tokens"))
    if ids.ndim == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"bucket takes token ids (*batch, pos); got the shape {ids.shape} of {ids.dtype}: "
            "tokens, mask = ji.bucket(tokenizer('a text'))."
        )
    real = np.ones(ids.shape, bool) if mask is None else np.asarray(as_mask(mask)).astype(bool)
    if real.shape != ids.shape:
        raise ValueError(f"A mask has the shape of its tokens {ids.shape}; got {real.shape}.")
    pos = ids.shape[-1]
    longest = None if most is None else as_int(most, "bucket: most", 1)
    if longest is not None and pos > longest:
        raise ValueError(f"A prompt of {pos} tokens is longer than most={longest}.")
    extra = bucket_length(pos, longest) - pos
    behind = [(0, 0)] * (ids.ndim - 1) + [(0, extra)]
    return np.pad(ids, behind), np.pad(real, behind)


def bucket_length(pos: int, most: int | None = None) -> int:
    """The length of the bucket of a prompt of `pos` tokens, at most `most`."""
    length = 8
    while length < pos:
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return length if most is None else min(length, most)
