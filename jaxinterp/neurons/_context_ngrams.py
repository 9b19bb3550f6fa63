"""The study of a context neuron: what it costs to remove it, on which path it acts, for which n-grams and neurons."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_int, as_list, as_number
from .._random import host_generator
from .._settings import takes_settings
from .._text import check_tokenizer
from ..core._check import check_predicts_tokens
from ..core._intervene import config_of
from ..corpus._batches import Batch
from ..corpus._fold import folded
from ..stats._intervals import check_level, ratio_ends
from ..typing import ClassesLike, FloatLike, IntLike, KeyLike, ModelLike, NeuronsLike, TokenizerLike
from ._address import as_neurons, name
from ._context_paths import RUNS, ContextPaths
from ._context_study import ContextStudy
from ._contexts import Contexts, as_contexts, index_of
from ._losses import check_losses
from ._moments import Moments, of_batch
from ._ngram_prompts import random_costs, with_letters
from ._ngrams import ContextNgrams, Found
from ._reading import batches_of, fold_neurons


@dataclass(frozen=True)
class NgramSettings:
    """Which n-grams count as needing a context neuron, and how many are kept; the published values by default.

    - `order`: the number of tokens of an n-gram.
    - `least`: the smallest rise of the loss, in nats, both without the neuron and without its indirect path.
    - `most_loss`: the largest loss of the last token in the unchanged model, in nats.
    - `top`: how many n-grams, and how many later neurons, are kept.
    - `prompts`: random prompts for each n-gram, of 12 of the most frequent tokens; 0 for none.

    ```python
    settings = ji.neurons.NgramSettings(order=4, least=1.0, prompts=0)
    ```
    """

    order: IntLike = 3
    least: FloatLike = 3.0
    most_loss: FloatLike = 2.5
    top: IntLike = 20
    prompts: IntLike = 50

    def __post_init__(self) -> None:
        """Raises ValueError for numbers outside of their range."""
        as_int(self.order, "order, the tokens of an n-gram,", 2)
        as_int(self.top, "top", 1)
        as_int(self.prompts, "prompts", 0)
        as_number(self.least, "least", -np.inf, np.inf)
        as_number(self.most_loss, "most_loss", 0, np.inf)


@takes_settings
def context_ngrams(
    model: ModelLike,
    neuron: NeuronsLike,
    corpus: ClassesLike,
    *,
    context: str | None = None,
    tokenizer: TokenizerLike | None = None,
    values: tuple[FloatLike, FloatLike] | None = None,
    settings: NgramSettings = NgramSettings(),
    skip: IntLike = 1,
    level: float | int = 0.95,
    key: KeyLike | None = None,
    progress: bool = True,
) -> ContextStudy:
    r"""$\ell(a \leftarrow \bar a_{\text{other}}) - \ell$, and the same with one path removed: the effects of a context neuron.

    Quirke et al. 2023 (https://arxiv.org/abs/2311.00863) find that the German neuron of Pythia-70m acts mostly through
    later neurons, which complete frequent German n-grams.

    **Arguments:**

    - `model`: of `ji.models`, without edits of its own.
    - `neuron`: a pair `(layer, neuron)`, or a name `"3.669"`.
    - `corpus`: a labelled `Corpus`, or a dict from class to texts, as in `distribution`.
    - `context`: the class of the neuron; by default the class in which its mean is the largest.
    - `tokenizer`: gives n-grams as texts; every token of an n-gram then has a letter.
    - `values`: the values of the neuron when active and when inactive. By default its mean over the tokens of the
      context, and over the tokens of all other classes.
    - `settings`: which n-grams count, and how many are kept: `NgramSettings`.
    - `skip`: first tokens of a row that do not count; 1 by default.
    - `level`: coverage of the intervals; `key`: draws resamples and prompts, `jax.random.key(0)` by default.
    - `progress`: whether a progress bar is shown; True by default.

    **Returns:** `ContextStudy`. The costs are named by what is *removed*. (The published table names them the
    other way round: its "direct effect" is the cost without the indirect path.)

    **Raises:** `ValueError` for an intervened model, a class that is not there, no other class and no `values`;
    `IndexError` for a neuron that the model lacks.

    ```python
    planted = ji.toy.planted_context_ngram()
    texts = {"in": [[1, 4, 5, 6, 3, 7, 8, 9]], "out": [[0, 4, 5, 6, 3, 7, 8, 9]]}
    found = ji.neurons.context_ngrams(planted.model, planted.context, texts, context="in",
                                      settings=ji.neurons.NgramSettings(least=1.0))
    found.total, found.without_indirect, found.without_direct     # the last is 0: it has no direct path
    found.ngrams.ids                                               # the planted ones
    ```

    Laws: for a neuron that the unembedding does not read, the cost without the direct path is 0, and the cost without
    the indirect path is the total; for a neuron that later layers do not read it is the other way round; for a neuron
    that nothing reads all costs are exactly 0.
    """
    if hasattr(model, "edits"):
        raise ValueError(
            "context_ngrams splits what a neuron writes into paths, and cannot see the edits of an intervened "
            "model. Give it the model inside: ji.neurons.context_ngrams(model.model, ...)."
        )
    check_predicts_tokens(config_of(model), "A context neuron is measured on next tokens")
    if tokenizer is not None:
        check_tokenizer(tokenizer, "ji.neurons.context_ngrams(model, neuron, corpus, tokenizer=tokenizer)")
    chosen, level = as_neurons(model, neuron), check_level(level)
    if len(chosen) != 1:
        raise ValueError(f"context_ngrams studies one neuron, as (3, 669); got {len(chosen)} of them.")
    contexts = as_contexts(model, corpus, skip=as_int(skip, "skip", 0))
    if context is not None:
        index_of(contexts.names, context)
    given = None if values is None else _values(values)
    if context is None or given is None:
        context, means = _means(model, contexts, chosen, context, given is None, progress)
        given = means if given is None else given
    on, off = given
    key = jax.random.key(0) if key is None else key
    rng = host_generator(key, "ji.neurons.context_ngrams(..., key={})")
    read = ContextPaths(
        model,
        *(jnp.asarray(x, jnp.int32) for x in chosen[0]),
        *(jnp.asarray(x, jnp.float32) for x in (on, off)),
    )
    own = contexts.only(context)
    words = None if tokenizer is None else with_letters(tokenizer, int(config_of(model).vocab))
    found = Found(int(settings.order), float(settings.least), float(settings.most_loss), words, {})
    sums, counts, added = _costs(model, own, read, found, progress)
    check_losses(sums[0])
    mean, spread = sums.sum(-1) / counts.sum(), sums[[2, 3, 4]] - sums[[0]]
    costs, (low, high) = spread.sum(-1) / counts.sum(), ratio_ends(spread, counts, level, rng)
    ids, rows = found.best(int(settings.top))
    drawn = random_costs(model, read, own, ids, int(settings.prompts), rng, progress)
    texts = [tuple(tokenizer.tokens(each)) if tokenizer is not None else map(str, each) for each in ids]
    ngrams = ContextNgrams(
        ids,
        tuple(("" if tokenizer is not None else " ").join(each) for each in texts),
        rows[:, 0].astype(int),
        *rows[:, 1:].T,
        *drawn,
    )
    best = np.argsort(-np.abs(added), axis=None)[: int(settings.top)]
    where = np.stack(np.unravel_index(best, added.shape), 1)
    where = where[added[tuple(where.T)] != 0]
    return ContextStudy(
        name(chosen[0]),
        context,
        float(on),
        float(off),
        mean,
        costs,
        low,
        high,
        ngrams,
        where,
        added[tuple(where.T)] / counts.sum(),
        int(counts.sum()),
        int((counts > 0).sum()),
        level,
    )


def _values(values: Any) -> tuple[float, float]:
    given = as_list(values, "values", "values=(active, inactive)")
    if len(given) != 2:
        raise ValueError(f"values are two numbers, (active, inactive); got {len(given)} of them.")
    active, inactive = (as_number(each, "values", -np.inf, np.inf) for each in given)
    return active, inactive


def _means(
    model: Any, contexts: Contexts, chosen: np.ndarray, context: str | None, both: bool, progress: bool
) -> tuple[str, tuple[float, float]]:
    """The context, by default the class with the largest mean, and the mean activation there and in all others."""
    names = list(contexts.names)
    if len(names) < 2:
        only = names[0]
        if both and only == "all":
            raise ValueError(
                "A context is a class of text, and these texts have no labels. Give them: "
                "ji.data.pack(tokenizer, [(text, 'German'), (other, 'English')], ctx=128), or a dict from class to "
                "texts."
            )
        if both:
            raise ValueError(
                f"Without values= the neuron is set to its mean in another class, and {only!r} is the only one. "
                "Give a corpus with other classes, or values=(active, inactive)."
            )
        return only, (np.nan, np.nan)
    many = len(names)

    def step(state: Moments, batch: Batch, x: Any) -> Moments:
        return state.merged(of_batch(x, batch, many))

    how: dict[str, Any] = {"batch_size": "auto", "progress": "means" if progress else False}
    found = fold_neurons(model, contexts, chosen, "mlp_post", Moments.nothing(many, 1), step, **how)
    chief = names[int(found.mean.reshape(-1).argmax())] if context is None else context
    here = np.array([each == chief for each in names])
    mean = lambda which: (found.mean * found.count)[which].sum() / found.count[which].sum()
    return chief, (float(mean(here)), float(mean(~here)))


def _costs(model: Any, own: Contexts, read: Any, found: Found, progress: bool) -> tuple[np.ndarray, ...]:
    """Sums of nats `(run, document)`, tokens `(document,)`, and what later neurons add in all `(layer, ff)`."""
    many = int(own.document.max()) + 1
    parts = batches_of(model, own, "mlp_post", "auto", 6 * int(config_of(model).vocab))
    targets = own.corpus.positions & np.pad(own.corpus.mask[:, :-1], ((0, 0), (1, 0)))

    def step(state: Any, batch: Batch, values: Any) -> Any:
        rows = parts.rows_of(int(batch.number))
        losses = np.asarray(values[0], np.float64)[:, : len(rows)]
        losses = np.pad(losses, ((0, 0), (0, 0), (1, 0)))  # of each token, the first has none
        counted = targets[rows]
        sums, added = state
        each = np.where(counted, losses, 0).sum(-1)
        np.add.at(sums.T, own.document[rows], each.T)
        whole = np.cumsum(own.corpus.mask[rows], 1) >= found.order  # no padding among the tokens of an n-gram
        found.add(np.asarray(batch.tokens)[: len(rows)], counted & whole, losses)
        return sums, added + np.asarray(values[1], np.float64)

    layers, units = np.shape(model.blocks.mlp.w_out)[:2]
    init = np.zeros((len(RUNS), many)), np.zeros((layers, units))
    bar = "context" if progress else False
    sums, added = folded(parts, model, [], init, step, per_batch=read, progress=bar)
    return sums, np.bincount(own.document, targets.sum(1), many), added
