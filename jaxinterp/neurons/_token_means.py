"""Which tokens a neuron fires on, on average: the check of what it does off its class."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int
from .._deprecations import respelled
from .._tabular import Record, Tabular, pieces
from ..core._intervene import split_edits
from ..corpus._batches import Batch
from ..typing import ClassesLike, IntLike, ModelLike, NeuronsLike, TokenizerLike
from ._address import as_neurons, name
from ._contexts import as_contexts
from ._reading import fold_neurons


@dataclass(frozen=True, eq=False)
class TokenMeans(Tabular):
    """Tokens with the largest mean activation of each neuron; made by `ji.neurons.token_means`.

    - `neurons (n, 2)`, `names`: the neurons, and the classes that were read.
    - `ids mean count (n, k)`: tokens by falling mean; -1 and NaN where fewer than k tokens are frequent enough.

    ```python
    found = ji.neurons.token_means(model, corpus, [(3, 336)], least=1, skip=2)
    found.records(tokenizer)[:3]
    ```
    """

    neurons: np.ndarray
    ids: np.ndarray
    mean: np.ndarray
    count: np.ndarray
    names: tuple[str, ...]

    def records(self, tokenizer: TokenizerLike | None = None, neuron: IntLike | None = None) -> list[Record]:
        """Tokens of one neuron (its number among `neurons`) or of all, as dicts; ids without a tokenizer."""
        found: list[Record] = []
        for i in range(len(self.neurons)) if neuron is None else (neuron,):
            there = self.ids[i] >= 0
            rows = zip(
                pieces(tokenizer, self.ids[i][there]), self.mean[i][there], self.count[i][there], strict=True
            )
            found += [
                {"neuron": name(self.neurons[i]), "token": token, "mean": float(mean), "count": int(count)}
                for token, mean, count in rows
            ]
        return found


@respelled(batch="batch_size=", k="top=", bootstrap="resamples=")
def token_means(
    model: ModelLike,
    classes: ClassesLike,
    neurons: NeuronsLike | None,
    *,
    without: str | tuple[str, ...] = (),
    least: int = 21,
    top: int = 20,
    site: str = "mlp_post",
    skip: int = 10,
    batch_size: int | str | None = "auto",
    progress: bool = True,
) -> TokenMeans:
    r"""$\bar a_j(v) = \frac{1}{n_v} \sum_{t : x_t = v} a_j(t)$: the mean activation of a neuron at each token of the vocabulary.

    This is check (iii) of a context neuron in Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610): without the
    texts of its own class, the list shows the other tokens on which the neuron fires.

    **Arguments:**

    - `model`, `classes`, `neurons`, `site`, `skip`, `batch_size`, `progress`: as in `distribution`.
    - `without`: a class or classes to leave out; none by default.
    - `least`: smallest number of occurrences of a token; 21 by default.
    - `top`: tokens for each neuron; 20 by default.

    **Returns:** `TokenMeans`.

    **Raises:** as `distribution`, and `ValueError` where no token occurs `least` times.

    ```python
    off = ji.neurons.token_means(model, corpus, [(3, 336)], without="de", least=1, skip=2)
    off.records(tokenizer)[:3]
    ```

    Law: sums over tokens of mean times count are the sums of all activations.
    """
    least, top = as_int(least, "least", 0), as_int(top, "top, the tokens of each neuron,", 1)
    contexts = as_contexts(model, classes, skip=skip)
    left_out = (without,) if isinstance(without, str) else tuple(without)
    if left_out:
        kept = [each for each in contexts.names if each not in left_out]
        contexts.only(*left_out)  # raises for a class that there is not
        if not kept:
            raise ValueError(f"without={without!r} leaves no class of {contexts.names}.")
        contexts = contexts.only(*kept)
    chosen = as_neurons(model, neurons, site)
    if not len(chosen):
        raise ValueError("token_means needs at least one neuron: neurons=[(3, 336)].")
    base, _ = split_edits(model)
    vocab = int(base.config.vocab)
    sums, counts = np.zeros((len(chosen), vocab)), np.zeros(vocab, np.int64)

    def step(state: Any, batch: Batch, x: Any) -> Any:
        ids = np.asarray(batch.tokens)[np.asarray(batch.positions)]
        own = np.asarray(_sums(x, batch.tokens, batch.positions, vocab))
        return state[0] + own, state[1] + np.bincount(ids, minlength=vocab)

    how: dict[str, Any] = {"batch_size": batch_size, "progress": "token means" if progress else False}
    sums, counts = fold_neurons(model, contexts, chosen, site, (sums, counts), step, **how)
    often = counts >= max(1, least)
    if not often.any():
        raise ValueError(
            f"No token comes least={least} times in {int(counts.sum())} tokens; the most frequent "
            f"comes {int(counts.max())} times. Read more text, or take least={int(counts.max())}."
        )
    means = np.where(often[None], sums / np.maximum(counts, 1)[None], -np.inf)
    order = np.argsort(-means, axis=1, kind="stable")[:, :top]
    found = np.take_along_axis(means, order, 1)
    there = np.isfinite(found)
    return TokenMeans(
        chosen,
        np.where(there, order, -1),
        np.where(there, found, np.nan),
        np.where(there, counts[order], 0),
        contexts.names,
    )


@eqx.filter_jit
def _sums(x: Any, tokens: Any, counted: Any, vocab: int) -> Any:
    x = jnp.where(jnp.broadcast_to(counted[None], x.shape), x, 0)
    rows = x.reshape(x.shape[0], -1).T
    return jax.ops.segment_sum(rows, tokens.reshape(-1), vocab).T
