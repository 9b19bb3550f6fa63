"""N-grams of tokens and compound words."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

COMPOUND_WORDS = (
    "high school",
    "living room",
    "social security",
    "credit card",
    "blood pressure",
    "prime factors",
    "social media",
    "gene expression",
    "control group",
    "magnetic field",
    "cell lines",
    "trial court",
    "second derivative",
    "north america",
    "human rights",
    "side effects",
    "public health",
    "federal government",
    "third party",
    "clinical trials",
    "mental health",
)
"""The 21 bigrams of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610)."""


class Compound(NamedTuple):
    """Spans of the second word where it follows the first, where it does not, and of words after
    the first that are another."""

    both: list[tuple[int, int]]
    second_alone: list[tuple[int, int]]
    first_alone: list[tuple[int, int]]


def ngram(tokens: Any, ids: Sequence[int]) -> np.ndarray:
    r"""$y_p = [\,t_{p-n+1..p} = g\,]$: True at the last token of every occurrence of an n-gram.

    **Arguments:**

    - `tokens`: ids `(..., pos)`.
    - `ids`: the n-gram `(n,)`; -1 matches any token.

    **Returns:** bools of the tokens' shape.

    ```python
    ji.data.features.ngram(corpus.tokens, tokenizer(" New York"))
    ```

    Law: the n-gram of one id is `tokens == id`.
    """
    tokens, wanted = np.asarray(tokens), np.asarray(ids)
    if wanted.ndim != 1 or not wanted.size or not np.issubdtype(wanted.dtype, np.integer):
        raise ValueError(f"An n-gram is at least one token id, (n,); got {wanted.shape} of {wanted.dtype}.")
    n, out = len(wanted), np.zeros(tokens.shape, bool)
    if n > tokens.shape[-1]:
        return out
    windows = np.lib.stride_tricks.sliding_window_view(tokens, n, axis=-1)
    out[..., n - 1 :] = ((windows == wanted) | (wanted == -1)).all(-1)
    return out


def compound_word(text: str, words: str) -> Compound:
    r"""$(w_1, w_2) \mapsto$ where $w_2$ follows $w_1$, and the two kinds of near misses.

    Words count in any case and with any white space between them; whole words only.

    **Arguments:**

    - `text`: a string.
    - `words`: two words, as in `COMPOUND_WORDS`.

    **Returns:** spans `(both, second_alone, first_alone)`: of the second word after the first;
    of the second word after anything else; of the word after a first that is not the second.
    Negatives are half of each in Gurnee et al. 2023.

    ```python
    found = corpus.spans(lambda t: ji.data.features.compound_word(t, "high school").both, at="last")
    ```

    Law: the three kinds of spans share no character.
    """
    pair = words.lower().split()
    if len(pair) != 2:
        raise ValueError(f"A compound word here is two words; got {words!r}.")
    found = [(m.start(), m.end(), m[0].lower()) for m in re.finditer(r"\w+", text)]
    both, second, first = [], [], []
    for i, (start, end, word) in enumerate(found):
        before = found[i - 1] if i else (0, 0, "")
        follows = before[2] == pair[0] and text[before[1] : start].isspace()
        if word == pair[1]:
            (both if follows else second).append((start, end))
        elif follows:
            first.append((start, end))
    return Compound(both, second, first)
