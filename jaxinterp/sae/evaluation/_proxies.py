r"""Proxies of a context, made from texts: how much likelier a token is inside it, $\log P(t \mid \text{context}) - \log P(t)$."""

import collections
import unicodedata
from collections.abc import Callable, Iterable

import numpy as np

from ..._arguments import as_number, check_choice
from ..._text import shown
from ...typing import FloatLike, TextsLike, TokenizerLike

UNITS = ("token", "character", "class", "script")


def context_proxy(
    tokenizer: TokenizerLike,
    inside: TextsLike,
    texts: TextsLike,
    *,
    of: str = "token",
    smoothing: FloatLike = 1.0,
) -> np.ndarray:
    r"""$\sum_{u \in t} \log P(u \mid \text{context}) - \log P(u)$: how much more likely a token is in a context, for `specificity`.

    Bricken et al. 2023 (https://transformer-circuits.pub/2023/monosemantic-features). The sum is over the units u of
    token t:

    | `of` | units of a token |
    |---|---|
    | "token" | the token itself |
    | "character" | its characters |
    | "class" | their classes in Unicode, such as "Lu" for a capital and "Nd" for a digit |
    | "script" | their scripts, such as LATIN, ARABIC and CJK; a character without a script counts by its class |

    **Arguments:**

    - `tokenizer`: the tokenizer of the model.
    - `inside`: texts of the context.
    - `texts`: texts of every kind, in which those of the context have their natural share.
    - `of`: the units, "token" by default.
    - `smoothing`: a number that is added to the count of each unit that occurs on either side; 1 by default.

    **Returns:** a proxy for each token of the vocabulary, `(vocab,)`.

    **Raises:** ValueError for no texts, and for another unit.

    ```python
    proxy = ji.sae.context_proxy(tokenizer, german, english + german, of="token")
    tokens = np.asarray(corpus.tokens)[corpus.positions]
    ji.sae.specificity(f[:, 7], proxy[tokens]).sensitivity
    ```

    Laws: with the same texts on both sides it is 0; a unit that is equally frequent on both sides adds nothing.
    """
    check_choice(of, "of", UNITS)
    add = as_number(smoothing, "smoothing", 1e-9, 1e9)
    sides = []
    for name, given in (("inside", inside), ("texts", texts)):
        several = [given] if isinstance(given, str) else list(given)
        if not several or not all(isinstance(text, str) and text for text in several):
            raise ValueError(f"{name} are texts, one or more, none empty; got {shown(given)}.")
        sides.append(several)
    vocab = int(getattr(tokenizer, "vocab", 0)) or len(tokenizer)  # pyright: ignore[reportArgumentType]
    if of == "token":
        counts = [np.zeros(vocab) for _ in sides]
        for count, several in zip(counts, sides, strict=True):
            for text in several:
                np.add.at(count, np.asarray(tokenizer(text)), 1)
        known = (counts[0] > 0) | (counts[1] > 0)
        inner, every = (np.log((c + add) / (c.sum() + add * known.sum())) for c in counts)
        return np.where(known, inner - every, 0.0)
    unit = _UNITS[of]
    found = [collections.Counter(u for text in several for u in map(unit, text)) for several in sides]
    kinds = set(found[0]) | set(found[1])
    totals = [sum(count.values()) + add * len(kinds) for count in found]
    ratio = {
        u: np.log((found[0][u] + add) / totals[0]) - np.log((found[1][u] + add) / totals[1]) for u in kinds
    }
    pieces: Iterable[str] = tokenizer.tokens(np.arange(vocab, dtype=np.int32))
    return np.array([sum(ratio.get(unit(char), 0.0) for char in piece) for piece in pieces])


def script(char: str) -> str:
    """The script of a character, by its name in Unicode; of what is no letter, its class."""
    kind = unicodedata.category(char)
    return unicodedata.name(char, kind).split()[0] if kind[0] == "L" else kind


_UNITS: dict[str, Callable[[str], str]] = {"character": str, "class": unicodedata.category, "script": script}
