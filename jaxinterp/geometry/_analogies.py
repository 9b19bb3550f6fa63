"""Vector arithmetic of words: nearest neighbours and analogies."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import viz
from .._arguments import as_int, as_list, check_choice, concrete
from .._text import shown
from ..nn._linear import einsum
from ..stats._results import Record, Result
from ..typing import ArrayLike, IntLike, TextLike, TextsLike
from ._matrices import as_matrix
from ._word_vectors import WordVectors

SMALL = 1e-3  # of Levy and Goldberg, in the quotient


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours(Result):
    """The nearest words of each query; made by `neighbours`.

    - `queries`: q texts, "" for a vector.
    - `words`: the `top` nearest words of each query.
    - `cosines (q, top)`: the cosines with them.

    ```python
    words = ji.geometry.word_vectors(model, tokenizer, ["man", "king", "woman", "queen"], several="last")
    found = ji.geometry.neighbours(words, ["king", "man"], top=2)
    found.words[0], found.cosines[0]
    ```
    """

    queries: list[str]
    words: list[list[str]]
    cosines: np.ndarray


def neighbours(words: WordVectors, queries: TextLike | ArrayLike, *, top: IntLike = 10) -> Neighbours:
    r"""$\arg\max_w \cos(v_q, v_w)$: the words that lie nearest by angle.

    Mikolov et al. 2013 (https://arxiv.org/abs/1301.3781).

    **Arguments:**

    - `words`: the result of `word_vectors`.
    - `queries`: a word, several, or vectors `(p,)` or `(q, p)`. A word is not its own neighbour.
    - `top`: how many neighbours of each query; 10 by default.

    **Returns:** `Neighbours`.

    **Raises:** ValueError for a word without a vector, a vector of zeros, vectors of another width, and fewer words
    than `top`.

    ```python
    texts = ["man", "king", "woman", "queen", "house"]
    words = ji.geometry.word_vectors(model, tokenizer, texts, site="resid_post[1]", several="last")
    ji.geometry.neighbours(words, "king", top=3).words
    ji.geometry.neighbours(words, words.of("king") - words.of("man") + words.of("woman"), top=3).words
    ```

    Law: a positive scale of each vector and an orthogonal map of all vectors change nothing.
    """
    check_nonzero(words)
    if isinstance(queries, str) or (
        isinstance(queries, list | tuple) and all(isinstance(q, str) for q in queries)
    ):
        names = as_list(queries, "queries", "ji.geometry.neighbours(words, ['king'])")
        rows = np.array([[words.index(name)] for name in names], np.int32)
        vectors = words.vectors[rows[:, 0]]
    else:
        vectors = as_matrix(queries if np.ndim(queries) > 1 else jnp.asarray(queries)[None], "queries", 1)
        if vectors.shape[1] != words.vectors.shape[1]:
            raise ValueError(
                f"Queries are of the width of the vectors, {words.vectors.shape[1]}; got {vectors.shape[1]}."
            )
        if concrete(vectors) and not np.asarray(vectors).any(1).all():
            raise ValueError("A query of zeros has no direction, so nothing is near it.")
        names, rows = [""] * len(vectors), np.full((len(vectors), 1), -1, np.int32)
    size = as_int(top, "top", 1)
    if size > len(words.words) - 1:
        raise ValueError(
            f"top is at most {len(words.words) - 1} of these {len(words.words)} words; got {size}."
        )
    found, near = _nearest(words.vectors, vectors, jnp.asarray(rows), size)
    return Neighbours(names, [[words.words[i] for i in row] for row in np.asarray(near)], np.asarray(found))


def unit(x: Float[Array, "n p"]) -> Float[Array, "n p"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def check_nonzero(words: WordVectors) -> None:
    """Raises where a word has no direction."""
    if not isinstance(words, WordVectors):
        raise ValueError(
            "Words come with their vectors: ji.geometry.word_vectors(model, tokenizer, ['king', 'queen']), or "
            f"ji.geometry.WordVectors(words, vectors); got {shown(words)}."
        )
    if concrete(words.vectors) and not (nonzero := np.asarray(words.vectors).any(1)).all():
        raise ValueError(
            f"The vector of {words.words[int(np.argmin(nonzero))]!r} is zero and has no direction."
        )


@eqx.filter_jit
def _nearest(vectors: Array, queries: Array, own: Int[Array, "q k"], top: int) -> tuple[Array, Array]:
    cosine = einsum("qp,np->qn", unit(queries.astype(vectors.dtype)), unit(vectors))
    best, near = jax.lax.top_k(_without(cosine, own), top)
    return best, near


def _without(scores: Float[Array, "q n"], own: Int[Array, "q k"]) -> Array:
    """Scores with minus infinity at words that are not answers; -1 stands for none."""
    barred = (jnp.arange(scores.shape[1], dtype=own.dtype)[None, None] == own[..., None]).any(1)
    return jnp.where(barred, -jnp.inf, scores)


@dataclasses.dataclass(frozen=True, eq=False)
class Analogies(Result):
    """Answers to questions "a is to b as c is to"; made by `analogies`.

    - `questions`: q times (a, b, c, d); d is "" where none was given.
    - `answers`: the best answer to each question.
    - `rank (q,)`: the rank of d among all answers, 1 the best; 0 without d. `baseline_rank (q,)`: its rank among the
      neighbours of c alone.
    - `accuracy`, `baseline`: how often d is first, and how often it is first among neighbours of c; NaN without d.

    ```python
    words = ji.geometry.word_vectors(model, tokenizer, ["man", "king", "woman", "queen"], several="last")
    found = ji.geometry.analogies(words, [("man", "king", "woman", "queen")])
    found.answers, found.rank, found.baseline_rank
    ```
    """

    questions: list[tuple[str, ...]]
    answers: list[str]
    rank: np.ndarray
    baseline_rank: np.ndarray
    accuracy: float
    baseline: float

    def records(self) -> list[Record]:
        """A row for each question."""
        return [
            dict(zip("abcd", row, strict=True))
            | {"answer": answer, "rank": int(rank), "baseline_rank": int(base)}
            for row, answer, rank, base in zip(
                self.questions, self.answers, self.rank, self.baseline_rank, strict=True
            )
        ]

    def figure(self, *, title: str = "Analogies") -> viz.Figure:
        """The share of questions whose answer is among the first r, of the analogy and of neighbours of c alone."""
        at = np.array([1, 2, 5, 10, 20, 50, 100])
        ranks = {"analogy": self.rank, "neighbours of c": self.baseline_rank}
        known = self.rank > 0
        share = {
            name: [float((one[known] <= r).mean()) if known.any() else np.nan for r in at]
            for name, one in ranks.items()
        }
        return viz.lines(share, x=at, log=True, x_axis="rank", y_axis="share", title=title)


def analogies(
    words: WordVectors, questions: Sequence[TextsLike], *, method: str = "add", exclude: bool = True
) -> Analogies:
    r"""$\arg\max_d \cos(d, b) - \cos(d, a) + \cos(d, c)$: a is to b as c is to d.

    Mikolov et al. 2013 (https://aclanthology.org/N13-1090). The method "multiply" is that of Levy and Goldberg 2014
    (https://aclanthology.org/W14-1618). Many answers are only neighbours of c (Linzen 2016,
    https://aclanthology.org/W16-2503). So the result also has the rank among the neighbours of c.

    **Arguments:**

    - `words`: the result of `word_vectors`; all of its words are candidates.
    - `questions`: rows (a, b, c) or (a, b, c, d).
    - `method`: "add" (the default), or "multiply": $\cos(d, b) \cos(d, c) / (\cos(d, a) + 0.001)$ of cosines in 0..1.
    - `exclude`: whether a, b and c are excluded from the answers; True by default, as published. With False the answer
      is mostly c.

    **Returns:** `Analogies`.

    **Raises:** ValueError for rows of another length, a word without a vector, and a d that is a, b or c while these
    are excluded.

    ```python
    texts = ["man", "king", "woman", "queen", "house"]
    words = ji.geometry.word_vectors(model, tokenizer, texts, site="resid_post[1]", several="last")
    ji.geometry.analogies(words, [("man", "king", "woman", "queen")]).records()
    ```

    Law: where each vector is a sum of parts that words share, every answer is right.
    """
    check_nonzero(words)
    check_choice(method, "method", ("add", "multiply"))
    rows = [tuple(as_list(row, "A question", "('man', 'king', 'woman', 'queen')")) for row in questions]
    if not rows or any(len(row) not in (3, 4) for row in rows):
        raise ValueError("Questions are rows (a, b, c) or (a, b, c, d): [('man', 'king', 'woman', 'queen')].")
    rows = [(*row, "")[:4] for row in rows]
    for row in rows:
        if exclude and row[3] in row[:3]:
            raise ValueError(
                f"{row[3]!r} is asked for in {row}, and is excluded as an answer: exclude=False."
            )
    if exclude and len(words.words) < 4:
        raise ValueError(f"An answer is another word than a, b and c; there are {len(words.words)} words.")
    ids = np.array([[words.index(word) if word else -1 for word in row] for row in rows], np.int32)
    best, rank, base = _analogies(words.vectors, jnp.asarray(ids), method, bool(exclude))
    known = ids[:, 3] >= 0
    rank, base = (np.where(known, np.asarray(each), 0) for each in (rank, base))
    share = [float((each[known] == 1).mean()) if known.any() else float("nan") for each in (rank, base)]
    return Analogies(rows, [words.words[i] for i in np.asarray(best)], rank, base, share[0], share[1])


@eqx.filter_jit
def _analogies(
    vectors: Array, ids: Int[Array, "q 4"], method: str, exclude: bool
) -> tuple[Array, Array, Array]:
    x = unit(vectors)
    a, b, c = (einsum("qp,np->qn", x[ids[:, i]], x) for i in range(3))
    half = [(1 + each) / 2 for each in (a, b, c)]
    scores = b - a + c if method == "add" else half[1] * half[2] / (half[0] + SMALL)
    own = ids[:, :3] if exclude else ids[:, :0]
    scores, near = _without(scores, own), _without(c, ids[:, :3] if exclude else ids[:, 2:3])

    def rank(values: Array) -> Array:
        right = jnp.take_along_axis(values, jnp.maximum(ids[:, 3:], 0), 1)
        return 1 + (values > right).sum(1)

    return scores.argmax(1), rank(scores), rank(near)
