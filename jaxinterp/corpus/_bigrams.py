"""What counting alone predicts: frequencies of tokens, and of tokens behind a token."""

from dataclasses import dataclass

import numpy as np

from .._arguments import as_array, as_int
from ..stats._results import Record, Result
from ..typing import CorpusLike, IndexLike, IntLike
from ._corpus import as_corpus


@dataclass(frozen=True, eq=False)
class Bigrams(Result):
    """Probabilities of the next token after each token, from counts; made by `ji.corpus.bigrams`.

    - `unigram (vocab,)`: the probability of each token after any token.
    - `starts (vocab + 1,)`: the tokens that follow the token v are `followers[starts[v] : starts[v + 1]]`.
    - `followers`, `kept (pair,)`: the ids of these tokens, and the probability of each from its own count.
    - `left (vocab,)`: the probability after each token that goes to the unigram.
    - `pairs`: how many pairs of neighbours were counted.

    ```python
    counted = ji.corpus.bigrams(corpus, model.config.vocab)
    counted.rows(corpus.tokens[0, :3]).shape            # (3, vocab)
    ```
    """

    unigram: np.ndarray
    starts: np.ndarray
    followers: np.ndarray
    kept: np.ndarray
    left: np.ndarray
    pairs: int

    def rows(self, tokens: IndexLike) -> np.ndarray:
        """$p(\\cdot \\mid v)$ for each of these tokens, float32 `(n, vocab)`; each row sums to 1.

        **Raises:** ValueError for what is no ids, IndexError for tokens outside of the vocabulary.
        """
        vocab = len(self.unigram)
        ids = np.asarray(as_array(tokens, "tokens"))
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"Rows are of token ids (n,); got {ids.dtype} of the shape {ids.shape}.")
        if ids.size and not (ids.min() >= 0 and ids.max() < vocab):
            raise IndexError(f"Token ids lie in 0..{vocab - 1}; got {ids.min()}..{ids.max()}.")
        out = self.left[ids, None] * self.unigram
        for row, token in zip(out, ids, strict=True):
            here = slice(self.starts[token], self.starts[token + 1])
            row[self.followers[here]] += self.kept[here]
        return out.astype(np.float32)

    def records(self) -> list[Record]:
        """One row: how many tokens and pairs there are."""
        return [{"vocab": len(self.unigram), "pairs": self.pairs, "distinct": len(self.followers)}]


def bigrams(corpus: CorpusLike, vocab: IntLike) -> Bigrams:
    r"""$p(w \mid v) = \frac{\max(c(vw) - D, 0)}{c(v)} + \frac{D\,N(v)}{c(v)}\,p(w), \quad D = \frac{n_1}{n_1 + 2 n_2}$:
    the next token from the token before.

    Absolute discounting (Ney, Essen and Kneser 1994, https://doi.org/10.1006/csla.1994.1001): $c$ counts, $N(v)$
    distinct tokens come after v, and $n_j$ pairs come j times. The unigram $p(w)$ is made in the same way above a
    uniform distribution.

    **Arguments:**

    - `corpus`: a `Corpus`, or ids `(row, pos)`, of text like that which a model was trained on. All real tokens
      are counted, and no pair spans two rows.
    - `vocab`: how many tokens there are, such as `model.config.vocab`.

    **Returns:** `Bigrams`, with `.unigram` and `.rows(tokens)`.

    **Raises:** ValueError for a corpus without two neighbours, IndexError for ids outside of the vocabulary.

    ```python
    counted = ji.corpus.bigrams([[1, 2, 1, 2, 3]], vocab=5)
    counted.rows([1]).argmax(1)                          # [2]
    ```

    Laws: rows sum to 1; after a token that never stands before another one, the probabilities are the unigram.
    """
    corpus, vocab = as_corpus(corpus), as_int(vocab, "vocab, the number of tokens,", 1)
    ids, real = np.asarray(corpus.tokens[np.arange(len(corpus))], np.int64), np.asarray(corpus.mask)
    seen = ids[real]
    if not (seen.min() >= 0 and seen.max() < vocab):
        raise IndexError(f"Token ids lie in 0..{vocab - 1}; the corpus has {seen.min()}..{seen.max()}.")
    both = real[:, 1:] & real[:, :-1]
    if not both.any():
        raise ValueError("No row has two tokens, so that no pair can be counted. Give longer rows.")
    pair = (ids[:, :-1] * vocab + ids[:, 1:])[both]
    grams, counts = np.unique(pair, return_counts=True)
    first, followers = np.divmod(grams, vocab)
    totals = np.bincount(first, counts, vocab)
    distinct = np.bincount(first, minlength=vocab)
    discount = _discount(counts)
    alone = np.bincount(seen, minlength=vocab)
    off = _discount(alone[alone > 0])
    unigram = (np.maximum(alone - off, 0) + off * (alone > 0).sum() / vocab) / alone.sum()
    return Bigrams(
        unigram,
        np.concatenate([[0], np.cumsum(distinct)]),
        followers,
        np.maximum(counts - discount, 0) / totals[first],
        np.where(totals > 0, discount * distinct / np.maximum(totals, 1), 1.0),
        len(pair),
    )


def _discount(counts: np.ndarray) -> float:
    """What is taken off each count; a half where no count is 1, or none is 2."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
