"""How far the angles between words follow human scores of their similarity."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Sequence

import numpy as np
import scipy

from .._arguments import as_list
from .._read import read_text
from .._text import shown
from ..stats import regression_metrics
from ..stats._intervals import check_level
from ..stats._results import Result
from ..typing import FloatLike, PathLike, TextsLike
from ._analogies import check_nonzero
from ._word_vectors import WordVectors


@dataclasses.dataclass(frozen=True, eq=False)
class WordPairs(Result):
    """Pairs of words with a score for each; made by `read_word_pairs`.

    - `first`, `second`: the words of n pairs.
    - `scores (n,)`: how similar people find the two words.

    ```python
    pairs = ji.geometry.read_word_pairs("wordsim353.csv")
    pairs.first[0], pairs.second[0], pairs.scores[0], len(pairs.words)
    ```
    """

    first: list[str]
    second: list[str]
    scores: np.ndarray

    @property
    def words(self) -> list[str]:
        """The different words, for `word_vectors`."""
        return list(dict.fromkeys([*self.first, *self.second]))

    def among(self, words: TextsLike) -> "WordPairs":
        """The pairs of which both words are among these, for words that have no vector."""
        kept = [i for i in range(len(self.scores)) if {self.first[i], self.second[i]} <= set(words)]
        return WordPairs([self.first[i] for i in kept], [self.second[i] for i in kept], self.scores[kept])


@dataclasses.dataclass(frozen=True, eq=False)
class HumanSimilarity(Result):
    """The rank correlation of cosines with human scores; made by `human_similarity`.

    - `spearman`: the rank correlation. `low`, `high`: its interval.
    - `pairs`: the number of pairs.

    ```python
    pairs = ji.geometry.read_word_pairs("wordsim353.csv")
    words = ji.geometry.word_vectors(model, tokenizer, pairs.words, several="last")
    found = ji.geometry.human_similarity(words, pairs)
    found.spearman, (found.low, found.high)
    ```
    """

    spearman: float
    low: float
    high: float
    pairs: int


def read_word_pairs(
    path: PathLike, *, columns: Sequence[str] | None = None, max_bytes: int = 2**25
) -> WordPairs:
    r"""$(w_i, u_i, s_i)$ of each line of a table, such as WordSim-353 or SimLex-999.

    **Arguments:**

    - `path`: a file `.csv`, or `.tsv` or `.txt` with tabs, whose first line names its columns.
    - `columns`: the names of the columns of the two words and of the score. None (the default): the table has three
      columns.
    - `max_bytes`: the largest size of the file in bytes; 32 MiB by default.

    **Returns:** `WordPairs`.

    **Raises:** ValueError, with the number of the line, for a column that is missing, more than three columns without
    `columns`, an empty word, and a score that is not a number.

    ```python
    pairs = ji.geometry.read_word_pairs("SimLex-999.txt", columns=("word1", "word2", "SimLex999"))
    ```

    Law: every pair has two words and a finite score.
    """
    text = read_text(path, max_bytes=max_bytes)
    tabs = os.fspath(path).lower().endswith((".tsv", ".txt"))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ","))
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}).") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if columns is None and len(header) != 3:
        raise ValueError(
            f"{path} has the columns {header}, and three are read. Name the two of the words and that of the score: "
            "columns=('word1', 'word2', 'score')."
        )
    names = header if columns is None else as_list(columns, "columns", "('word1', 'word2', 'score')")
    if len(names) != 3 or any(name not in header for name in names):
        raise ValueError(f"columns names three of the columns {header} of {path}; got {names}.")
    where = [header.index(name) for name in names]
    found = []
    for line, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[i].strip() if i < len(row) else "" for i in where]
        found.append((*cells[:2], _score(cells[2])))
        if not cells[0] or not cells[1] or not math.isfinite(found[-1][2]):
            raise ValueError(
                f"{path}, line {line}: a pair is two words and a number in the columns {names}; got {cells}."
            )
    if not found:
        raise ValueError(f"{path} has no pairs below its first line, which names the columns.")
    return WordPairs([a for a, _, _ in found], [b for _, b, _ in found], np.array([s for _, _, s in found]))


def _score(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def human_similarity(
    words: WordVectors, pairs: WordPairs | PathLike, *, level: FloatLike = 0.95
) -> HumanSimilarity:
    r"""Spearman's $\rho$ of $\cos(v_w, v_u)$ and human scores, over pairs of words.

    The interval is that of Bonett and Wright 2000 (https://doi.org/10.1007/BF02294183):
    $\tanh(\tanh^{-1} \rho \pm z \sqrt{(1 + \rho^2 / 2) / (n - 3)})$.

    **Arguments:**

    - `words`: the result of `word_vectors`.
    - `pairs`: the result of `read_word_pairs`, or the path of a table of three columns.
    - `level`: the coverage of the interval; 0.95 by default.

    **Returns:** `HumanSimilarity`.

    **Raises:** ValueError for a word without a vector, fewer than four pairs, and scores or cosines that are all equal.

    ```python
    pairs = ji.geometry.read_word_pairs("wordsim353.csv")
    words = ji.geometry.word_vectors(model, tokenizer, pairs.words, site="resid_post[1]", several="last")
    ji.geometry.human_similarity(words, pairs).spearman
    ```

    Law: an increasing function of the scores changes nothing.
    """
    check_nonzero(words)
    table = pairs if isinstance(pairs, WordPairs) else read_word_pairs(pairs)
    level = check_level(level)
    missing = [word for word in table.words if word not in words.words]
    if missing:
        raise ValueError(
            f"{len(missing)} words of the pairs have no vector, {shown(missing[0])} among them. Read them: "
            "ji.geometry.word_vectors(model, tokenizer, pairs.words, several='last'). Or leave their pairs out: "
            "pairs.among(words.words)."
        )
    n = len(table.scores)
    if n < 4:
        raise ValueError(f"A rank correlation with an interval needs four pairs or more; got {n}.")
    rows = {word: i for i, word in enumerate(words.words)}
    x = np.asarray(words.vectors, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    first, second = (x[[rows[word] for word in side]] for side in (table.first, table.second))
    cosine = (first * second).sum(1)
    if np.ptp(table.scores) == 0 or np.ptp(cosine) < 1e-12:
        raise ValueError("Scores or cosines are all equal, so there is no order to compare.")
    rho = float(regression_metrics(table.scores, cosine).spearman)
    half = scipy.special.ndtri((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, rho)))
    return HumanSimilarity(rho, math.tanh(middle - half), math.tanh(middle + half), n)
