"""N-grams behind random common tokens: whether they need a context neuron on their own."""

from typing import Any

import numpy as np

from ..core._intervene import config_of
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._corpus import as_corpus
from ..corpus._fold import folded
from ..typing import TokenizerLike
from ._context_paths import RUNS
from ._contexts import Contexts

COMMON, LENGTH = 100, 12
"Random prompts hold 12 tokens before each n-gram, drawn from the 100 most frequent ones: Quirke et al. 2023."


def random_costs(
    model: Any,
    read: Any,
    own: Contexts,
    ids: np.ndarray,
    prompts: int,
    rng: np.random.Generator,
    progress: bool,
) -> np.ndarray:
    """Mean costs `(3, n)` of the last token of each n-gram behind random common tokens."""
    if not prompts or not len(ids):
        return np.full((3, len(ids)), np.nan)
    seen = np.asarray(own.corpus.tokens)[own.corpus.positions]
    common = np.argsort(-np.bincount(seen), kind="stable")[: min(COMMON, len(np.unique(seen)))]
    first = np.asarray(own.corpus.tokens)[np.arange(len(own)), own.corpus.mask.argmax(1)]
    config, many = config_of(model), len(ids) * prompts
    length = max(0, min(LENGTH, int(config.ctx) - 1 - ids.shape[1]))
    before = np.concatenate([rng.choice(first, (many, 1)), rng.choice(common, (many, length))], 1)
    rows = np.concatenate([before, np.repeat(ids, prompts, 0)], 1).astype(np.int32)
    parts = CorpusBatches(as_corpus(rows, positions=[-1]), model, "auto", width=6 * int(config.vocab))
    last: list[np.ndarray] = []

    def step(state: Any, batch: Batch, values: Any) -> Any:
        many = len(parts.rows_of(int(batch.number)))
        last.append(np.asarray(values[0], np.float64)[:, :many, -1])
        return state

    folded(parts, model, [], 0, step, per_batch=read, progress="random prompts" if progress else False)
    losses = np.concatenate(last, 1).reshape(len(RUNS), len(ids), prompts).mean(-1)
    return losses[[2, 3, 4]] - losses[0]


def with_letters(tokenizer: TokenizerLike, vocab: int) -> np.ndarray:
    """True at tokens whose text has a letter, `(vocab,)`."""
    pieces = tokenizer.tokens(np.arange(min(vocab, len(tokenizer))))  # pyright: ignore[reportArgumentType]
    letters = [any(x.isalpha() for x in piece) for piece in pieces]
    return np.pad(np.array(letters, bool), (0, vocab - len(letters)))
