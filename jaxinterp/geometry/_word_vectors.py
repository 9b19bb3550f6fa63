"""A vector for each word, read from the embedding or from any other site."""

from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_list, check_choice
from .._text import shown
from ..core._intervene import config_of
from ..data import activations
from ..stats._results import Record, Result
from ..tasks._prompt import Encoder, Misfit, Prompt
from ..typing import AtLike, ModelLike, TextsLike, TokenizerLike
from ._matrices import as_matrix


class WordVectors(Result, eqx.Module):
    """Words with a vector for each; made by `word_vectors`, or by you from vectors of another source.

    - `words`: n different texts.
    - `vectors (n, p)`: the vector of each word.

    ```python
    words = ji.geometry.WordVectors(["king", "queen"], [[1.0, 0.0], [0.8, 0.6]])
    words.of("queen") - words.of("king")                # the difference of two vectors
    ```
    """

    words: tuple[str, ...] = eqx.field(static=True)
    vectors: Float[Array, "n p"]

    def __init__(
        self, words: TextsLike, vectors: Float[Array, "n p"] | np.ndarray | Sequence[Sequence[float]]
    ):
        self.words = tuple(as_list(words, "words", "WordVectors(['king', 'queen'], vectors)"))
        self.vectors = as_matrix(vectors, "vectors", 1)
        if len(set(self.words)) != len(self.words) or len(self.words) != len(self.vectors):
            raise ValueError(
                f"words are different, and each has a row of vectors; got {len(set(self.words))} different words "
                f"and {len(self.vectors)} rows."
            )

    def of(self, word: str) -> Float[Array, " p"]:
        """The vector of a word."""
        return self.vectors[self.index(word)]

    def index(self, word: str) -> int:
        """The row of a word. **Raises:** ValueError where there is none."""
        if word not in self.words:
            raise ValueError(
                f"There is no vector of {shown(word)} among these {len(self.words)} words, such as "
                f"{', '.join(map(repr, self.words[:3]))}. Read it too: ji.geometry.word_vectors(model, tokenizer, "
                f"[..., {word!r}])."
            )
        return self.words.index(word)

    def records(self) -> list[Record]:
        """A row for each word, with the length of its vector."""
        return [
            {"word": word, "norm": float(norm)}
            for word, norm in zip(self.words, np.linalg.norm(np.asarray(self.vectors), axis=1), strict=True)
        ]


def word_vectors(
    model: ModelLike,
    tokenizer: TokenizerLike,
    words: TextsLike | None = None,
    *,
    site: AtLike = "embed",
    template: str = " {word}",
    several: str = "raise",
    batch_size: int = 256,
    progress: bool = True,
) -> WordVectors:
    r"""$v_w = a(t_1 \dots w)_{\mathrm{pos}(w)}$: the activation of a site at each word, inside a template.

    **Arguments:**

    - `model`, `tokenizer`: a model and its tokenizer, such as those of `ji.load`.
    - `words`: texts; None (the default) for every token of the vocabulary, as `tokenizer.tokens` writes it.
    - `site`: one site with one vector for each position: "embed" (the default), "resid_post[3]", ...
    - `template`: the text around each word, with {word} in it. The default puts a space before the word, so write words
      without a space. It is not used where `words` is None.
    - `several`: the rule for a word of several tokens: "raise" (the default) an error, read the "last" token, or take
      the "mean" over its tokens.
    - `batch_size`: texts per pass; 256 by default.
    - `progress`: whether a progress bar is shown after two seconds; True by default.

    **Returns:** `WordVectors`.

    **Raises:** ValueError for a word of several tokens, a template without {word}, words that are equal, and a site
    with several vectors for a position, such as "z".

    ```python
    texts = ["king", "queen", "man", "woman"]
    words = ji.geometry.word_vectors(model, tokenizer, texts, site="resid_post[1]", several="last")
    words.vectors.shape                                 # (4, d)
    ```

    Law: each vector is the same when the word is run alone.
    """
    check_choice(several, "several", ("raise", "last", "mean"))
    if words is None:
        vocab = min(config_of(model).vocab, getattr(tokenizer, "vocab", config_of(model).vocab))
        ids = np.arange(vocab, dtype=np.int32)
        names, seen = tokenizer.tokens(ids), dict[str, int]()
        for i, name in enumerate(names):
            seen.setdefault(name, i)
        keep = np.fromiter(seen.values(), np.int32)
        tokens, at = keep[:, None], np.ones((len(keep), 1), bool)
        return WordVectors(tuple(seen), _vectors(model, tokens, at, at, site, "last", batch_size, progress))
    names = as_list(words, "words", "ji.geometry.word_vectors(model, tokenizer, ['king', 'queen'])")
    if not isinstance(template, str) or template.count("{word}") != 1:
        raise ValueError(f"A template has {{word}} in it once, as ' {{word}}'; got {shown(template)}.")
    encoder = Encoder(tokenizer, False)
    rows = [_tokens(encoder, template, name, several) for name in names]
    if not rows:
        raise ValueError("words holds one word or more; got none.")
    width = max(len(ids) for ids, _ in rows)
    tokens, at, real = (np.zeros((len(rows), width), dtype) for dtype in (np.int32, bool, bool))
    for row, (ids, chosen) in enumerate(rows):
        tokens[row, : len(ids)], at[row, : len(ids)], real[row, : len(ids)] = ids, chosen, True
    return WordVectors(names, _vectors(model, tokens, real, at, site, several, batch_size, progress))


def _tokens(encoder: Encoder, template: str, word: str, several: str) -> tuple[list[int], np.ndarray]:
    """The ids of a word in its template, and which of them are the word's."""
    if not isinstance(word, str) or not word:
        raise ValueError(f"A word is a text that is not empty; got {shown(word)}.")
    if word[0].isspace() and template.partition("{word}")[0].endswith(" "):
        raise ValueError(f"The template {template!r} brings the space before a word: write {word.strip()!r}.")
    prompt = Prompt.fill(template.replace("{word}", "{W}"), {"W": word})
    start, stop = prompt.spans["W"]
    try:
        ids, ends = encoder.ids(prompt.text), np.asarray(encoder.ends(prompt.text))
    except Misfit as misfit:
        raise ValueError(f"The tokenizer cannot read {prompt.text!r}: {misfit}.") from misfit
    chosen = (ends > start) & (np.concatenate([[0], ends[:-1]]) < stop)
    if several == "raise" and chosen.sum() != 1:
        raise ValueError(
            f"{word!r} is {chosen.sum()} tokens in {prompt.text!r}. Leave it out, or say what is read of such words: "
            "several='last', which at a site above the attention knows the whole word, or several='mean'."
        )
    return ids, chosen


def _vectors(
    model: ModelLike,
    tokens: np.ndarray,
    real: np.ndarray,
    at: np.ndarray,
    site: AtLike,
    several: str,
    size: int,
    progress: bool,
) -> np.ndarray:
    found = activations(
        model,
        tokens,
        site,
        mask=real,
        positions=at,
        reduce="mean" if several == "mean" else "last",
        batch_size=size,
        dtype=np.promote_types(np.float32, jax.dtypes.canonicalize_dtype(float)),
        progress=progress,
    )
    if not isinstance(found, np.ndarray) or found.ndim != 2:
        raise ValueError(
            f"A word has one vector, so site is one layer of a site without heads, as 'resid_post[1]'; got {site!r}."
        )
    return found
