"""What neurons are worth to facts: the probability of a word, with and without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._deprecations import respelled
from .._text import check_tokenizer
from ..corpus._corpus import TokenCorpus
from ..stats._results import Record, Result
from ..typing import ArrayLike, ModelLike, NeuronsLike, TokenizerLike
from ._ablation import ALL_TOGETHER
from ._ablation_values import values_of
from ._address import as_neurons, name, units_of
from ._contexts import Contexts
from ._losses import GroupLosses, grouped
from ._reading import fold_losses


@dataclass(frozen=True, eq=False)
class FactAblation(Result):
    """Log-probabilities of words after their prompts; made by `ji.neurons.fact_ablation`.

    - `facts`: the given pairs; `rows`: the ablated neuron of each row.
    - `before (fact,)`, `after (row, fact)`: log-probabilities in nats without and with the ablation.

    ```python
    found = ji.neurons.fact_ablation(model, tokenizer, [("He went back to the", " house")], [(3, 336)])
    found.before, found.after
    ```
    """

    facts: tuple[tuple[str, str], ...]
    rows: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray

    def records(self) -> list[Record]:
        """One dict for each row and fact, with probabilities."""
        return [
            {
                "ablated": self.rows[r],
                "prompt": self.facts[f][0],
                "word": self.facts[f][1],
                "before": float(np.exp(self.before[f])),
                "after": float(np.exp(self.after[r, f])),
                "change": float(self.after[r, f] - self.before[f]),
            }
            for r, f in np.ndindex(*self.after.shape)
        ]


@respelled(
    batch="batch_size=",
    k="top=",
    bootstrap="resamples=",
    together=ALL_TOGETHER,
    jointly=ALL_TOGETHER,
)
def fact_ablation(
    model: ModelLike,
    tokenizer: TokenizerLike,
    facts: Sequence[tuple[str, str]],
    neurons: NeuronsLike,
    *,
    to: str | ArrayLike = "zero",
    bos: bool = True,
    site: str = "mlp_post",
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> FactAblation:
    r"""$p(w \mid t, M)$ and $p(w \mid t, M, a_j \leftarrow v_j)$: the probability of a word with and without neurons.

    The test of fact neurons in Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    **Arguments:**

    - `model`, `tokenizer`: the model and its tokenizer.
    - `facts`: pairs (prompt, word) such as ("Paris is the capital of", " France"). For a word of several
      tokens the probability is that of all of them.
    - `neurons`: pairs `(layer, neuron)`.
    - `to`: "zero" (by default), a number, or one number for each neuron.
    - `bos`: whether prompts begin with BOS; True by default.
    - `site`, `batch_size`, `progress`: as in `ablation`.

    **Returns:** `FactAblation`.

    **Raises:** `ValueError` for no facts, or a word that does not begin with a new token after its
    prompt.

    ```python
    found = ji.neurons.fact_ablation(model, tokenizer, [("He went back to the", " house")], [(3, 336)])
    found.records()[0]["before"]
    ```

    Law: `before` is the product of `softmax(logits)` at the word's tokens.
    """
    chosen = as_neurons(model, neurons, site)
    layers, _ = units_of(model, site)
    facts = facts if isinstance(facts, str) else list(facts)
    contexts = _prompts(tokenizer, facts, bos)
    if isinstance(to, str) and to != "zero":
        raise ValueError(
            f"The prompts of facts are not a sample for a mean; got to={to!r}. Give values: "
            "to=ji.neurons.distribution(model, corpus, neurons).mean_of()."
        )
    values = values_of(model, contexts, chosen, to, site, batch_size, progress)
    groups = [[i] for i in range(len(chosen))]
    rows = [name(each) for each in chosen]
    if len(chosen) != 1:
        groups.append(list(range(len(chosen))))
        rows.append("all together")
    before, after = np.zeros(len(facts)), np.zeros((len(groups), len(facts)))

    def step(state: Any, rows: np.ndarray, as_is: np.ndarray, ablated: np.ndarray) -> Any:
        state[0][rows] = -as_is
        state[1][:, rows] = -ablated
        return state

    own = GroupLosses(model, *grouped(chosen, values, groups, layers), site)
    how: dict[str, Any] = {"batch_size": batch_size, "progress": "facts" if progress else False}
    before, after = fold_losses(model, contexts, site, own, (before, after), step, **how)
    return FactAblation(tuple((str(p), str(w)) for p, w in facts), tuple(rows), before, after)


def _prompts(tokenizer: Any, facts: Any, bos: bool) -> Contexts:
    """Prompts with their words, of which the words count."""
    check_tokenizer(tokenizer, "ji.neurons.fact_ablation(model, tokenizer, facts, neurons)")
    if isinstance(facts, str) or not len(facts):
        raise ValueError("facts are pairs (prompt, word): [('Paris is the capital of', ' France')].")
    rows, starts = [], []
    for prompt, word in facts:
        first = np.asarray(tokenizer(prompt, bos=bos))
        whole = np.asarray(tokenizer(prompt + word, bos=bos))
        if len(whole) <= len(first) or (whole[: len(first)] != first).any():
            raise ValueError(
                f"After {prompt!r} the word {word!r} does not begin with a new token: {tokenizer.tokens(whole)}. "
                "The space belongs to the word: ' France'."
            )
        rows.append(whole)
        starts.append(len(first))
    size = max(map(len, rows))
    tokens, real = np.zeros((len(rows), size), np.int32), np.zeros((len(rows), size), bool)
    counted = np.zeros_like(real)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        tokens[i, : len(row)], real[i, : len(row)] = row, True
        counted[i, start : len(row)] = True
    many = np.arange(len(rows))
    document = np.where(real, many[:, None], -1)
    corpus = TokenCorpus(tokens, real, counted, document, np.full(len(rows), None, object))
    return Contexts(corpus, np.zeros(len(rows), np.int32), many, ("facts",))
