"""Families of neurons: which property of a token explains most of a neuron's variance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import viz
from .._text import check_tokenizer
from ..corpus._corpus import as_corpus
from ..stats._results import Record, Result
from ..typing import BytesLike, CorpusLike, FloatLike, ModelLike, TokenizerLike
from ._pair_reading import as_pair
from ._ranks import Measure
from ._row_blocks import as_limit, row_blocks
from ._units import Indicators, UnitStream, named


@dataclass(frozen=True, eq=False)
class Families(Result):
    """The share of the variance of each neuron that a feature of tokens explains; made by `ji.neurons.families`.

    ```python
    found = ji.neurons.families(model, corpus, ji.neurons.token_families(corpus, tokenizer))
    found.best(0.5), found.records()[0]
    ```
    """

    reduction: np.ndarray
    "The largest reduction in variance by one feature of each family, `(neuron, family)`."
    value: np.ndarray
    "The value of that feature, such as a token id, `(neuron, family)`."
    names: tuple[str, ...]
    "The name of each family."
    neurons: np.ndarray
    "Layer and unit, `(neuron, 2)`."

    def best(self, least: FloatLike = 0.5) -> np.ndarray:
        """The family of each neuron that explains most, `(neuron,)`; "" where it explains less than `least`."""
        top = self.reduction.argmax(1)
        found = np.asarray(self.names, object)[top]
        found[self.reduction.max(1) < least] = ""
        return found

    def records(self) -> list[Record]:
        """A row for each neuron and family."""
        return [
            {"neuron": one, "family": name, "value": int(v), "reduction": float(r)}
            for one, values, reductions in zip(named(self.neurons), self.value, self.reduction, strict=True)
            for name, v, r in zip(self.names, values, reductions, strict=True)
        ]

    def figure(self, *, title: str = "What explains a neuron") -> viz.Figure:
        """A heat map of the forty neurons that are explained best, by family."""
        best = np.argsort(-np.nan_to_num(self.reduction).max(1), kind="stable")[:40]
        rows = named(self.neurons[best])
        axes = ("neuron", "family")
        return viz.heatmap(
            self.reduction[best], rows=rows, cols=self.names, axis_names=axes, value="share", title=title
        )


@dataclass(frozen=True, eq=False)
class TokenFamilies(Result):
    """Labels `(row, pos)` of tokens by family, -1 where a token has none; made by `ji.neurons.token_families`.

    ```python
    labels = ji.neurons.token_families(tokens, tokenizer)
    list(labels), labels["unigram"].shape
    ```
    """

    unigram: np.ndarray
    "The id of a frequent token."
    previous: np.ndarray
    "The id of a frequent token before."
    alphabet: np.ndarray
    "The first letter, 0 for a or A."
    space: np.ndarray
    "1 where a token begins with a space."
    position: np.ndarray
    "The place in a row among 16 equal stretches, counted from 1; 0 for the first token."


def families(
    model: ModelLike,
    corpus: CorpusLike,
    labels: Mapping[str, Any] | TokenFamilies,
    *,
    site: str = "mlp_post",
    batch_size: int | str = "auto",
    max_bytes: BytesLike = "auto",
    progress: bool = True,
) -> Families:
    r"""$1 - \frac{(1 - \beta)\,\mathrm{var}(a \mid s = 0) + \beta\,\mathrm{var}(a \mid s = 1)}{\mathrm{var}(a)}$,
    the largest over the features s of a family.

    This is the reduction in variance by which Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181) sort neurons into
    families: unigram, alphabet, previous token, position, syntax, semantic context. $\beta$ is the share of tokens with
    s = 1. For such a feature the reduction is the square of the correlation, so it is computed as in `correlations`.

    **Arguments:**

    - `model`, `corpus`, `batch_size`, `max_bytes`: as in `correlations`.
    - `labels`: ints `(row, pos)` by family; each value of 0 or more is a feature, and -1 stands for none of them.
      `token_families` makes labels from the texts of tokens. Add labels of your own, such as parts of speech or
      languages: `{"syntax": tags, "German": corpus.label_of_tokens("de").astype(int)}`.
    - `site`: a site of neurons; `"mlp_post"` by default.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `Families`, with `.best()`.

    **Raises:** ValueError for labels of another shape, and a family of one value.

    ```python
    labels = ji.neurons.token_families(corpus, tokenizer)
    found = ji.neurons.families(model, corpus, labels)
    found.best(0.5)
    ```

    Law: equal to the definition, with population variances.
    """
    corpus = as_corpus(corpus)
    if not labels:
        raise ValueError(
            "families needs labels of at least one family: ji.neurons.token_families(corpus, tokenizer)."
        )
    values, numbers = {}, {}
    counted = np.asarray(corpus.positions)
    for name, each in labels.items():
        each = np.asarray(each)
        if each.shape != counted.shape or not np.issubdtype(each.dtype, np.integer):
            raise ValueError(
                f"Labels are ints (row, pos) of the corpus, {counted.shape}, -1 for none; those of {name!r} "
                f"have the shape {each.shape} of {each.dtype}."
            )
        own = np.unique(each[counted & (each >= 0)])
        if not len(own) or (len(own) == 1 and (each[counted] == own[0]).all()):
            raise ValueError(
                f"The family {name!r} has one value at all tokens that count, which explains nothing."
            )
        place = np.searchsorted(own, each).clip(0, len(own) - 1)
        values[name], numbers[name] = own, np.where(own[place] == each, place, -1).astype(np.int32)
    stream = UnitStream(model, site)
    pair = as_pair(stream, stream, corpus)
    features = Indicators(tuple(map(len, values.values())))
    read = replace(pair.read, sides=(pair.read.sides[0], features))
    extra = np.stack(list(numbers.values()), -1)
    pair = replace(pair, read=read, captures=pair.read.sides[0].captures, extra=extra)
    neurons = pair.read.sides[0].table
    cuts = np.cumsum([0, *map(len, values.values())])
    best = np.zeros((len(neurons), len(values)), np.float32)
    where = np.zeros((len(neurons), len(values)), np.int64)
    how: dict[str, Any] = {
        "batch_size": batch_size,
        "mesh": None,
        "progress": "families" if progress else False,
    }
    for here, r in row_blocks(pair, Measure(), as_limit(max_bytes), None, how):
        square = np.square(np.asarray(r))
        for i, own in enumerate(values.values()):
            part = square[:, cuts[i] : cuts[i + 1]]
            best[here, i], where[here, i] = part.max(1), own[part.argmax(1)]
    return Families(best, where, tuple(values), neurons)


def token_families(corpus: CorpusLike, tokenizer: TokenizerLike, *, common: int = 256) -> TokenFamilies:
    r"""Labels $(\mathrm{row}, \mathrm{pos})$ from the texts of tokens, for `families`.

    **Arguments:**

    - `corpus`: a `Corpus`, or tokens `(row, pos)`.
    - `tokenizer`: gives the texts of tokens.
    - `common`: how many of the most frequent tokens are features of their own; 256 by default.

    **Returns:** `TokenFamilies`, which is read as a dict.

    ```python
    labels = ji.neurons.token_families(tokens, tokenizer)
    ji.neurons.families(model, tokens, {**labels, "syntax": tags})
    ```

    Law: padding has -1 everywhere.
    """
    check_tokenizer(tokenizer, "ji.neurons.token_families(tokens, tokenizer)")
    corpus = as_corpus(corpus)
    tokens, real = np.asarray(corpus.tokens[np.arange(len(corpus))]), np.asarray(corpus.mask)
    ids, counts = np.unique(tokens[np.asarray(corpus.positions)], return_counts=True)
    frequent = ids[np.argsort(-counts, kind="stable")[:common]]
    before = np.concatenate([np.full_like(tokens[:, :1], -1), tokens[:, :-1]], 1)
    before = np.where(np.concatenate([np.zeros_like(real[:, :1]), real[:, :-1]], 1), before, -1)
    keep = lambda x: np.where(np.isin(x, frequent) & real, x, -1).astype(np.int32)
    every = np.unique(tokens)
    texts = tokenizer.tokens(every)
    letter = np.asarray([_letter(text) for text in texts], np.int32)
    space = np.asarray([text.startswith((" ", "Ġ", "▁")) for text in texts], np.int32)
    at = np.searchsorted(every, tokens)
    place = np.cumsum(real, 1) - 1
    bins = np.where(place == 0, 0, 1 + place * 16 // max(1, int(real.sum(1).max())))
    hide = lambda x: np.where(real, x, -1).astype(np.int32)
    return TokenFamilies(keep(tokens), keep(before), hide(letter[at]), hide(space[at]), hide(bins))


def _letter(text: str) -> int:
    first = text.strip()[:1].lower()
    return ord(first) - ord("a") if "a" <= first <= "z" else -1
