"""Effects of clamped neurons over a corpus, with sums by group of documents for intervals."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._random import host_generator
from ..core._blocks import layer_count
from ..core._check import as_int
from ..corpus._batches import Batch, CorpusBatches
from ..corpus._fold import folded
from ..corpus._size import as_batch_size, fitting
from ..stats._intervals import check_level, resample_counts, widened_levels
from ..typing import FloatLike, IntLike
from ..weights._leaves import wide
from ._clamped import ClampedRun
from ._contexts import Contexts, as_contexts, contexts_of
from ._losses import check_losses

GROUPS = 256
"Documents beyond so many share groups, which intervals resample; sums stay small."
COPIES = 4
"Arrays of logits that one clamp holds at a time."
CHUNK = 8
"Clamps whose last streams exist at a time."
CACHE = 2**23
"What the logits of a block of tokens take on a CPU, 8 MiB."


@dataclasses.dataclass(frozen=True)
class ClampSettings:
    """How effects of neurons on predictions are measured.

    - `skip`: how many first tokens of a context do not count; 3 by default. The last token has no next
      token and never counts.
    - `resamples`: how often documents are resampled for the intervals; 1000 by default.
    - `level`: the coverage that the intervals aim at; 0.95 by default.
    - `batch_size`: contexts in one pass; "auto" (by default) follows from `max_bytes`.
    - `max_bytes`: the most bytes that the logits of a pass may take; "auto" is 256 MiB.

    ```python
    settings = ji.neurons.ClampSettings(skip=1, resamples=200, batch_size=8)
    ```
    """

    skip: IntLike = 3
    resamples: IntLike = 1000
    level: FloatLike = 0.95
    batch_size: IntLike | str = "auto"
    max_bytes: IntLike | str = "auto"

    def __post_init__(self) -> None:
        """Raises ValueError for what is no such number."""
        as_int(self.skip, "skip", 0)
        as_int(self.resamples, "resamples", 0)
        check_level(self.level)
        as_batch_size(self.batch_size, 1, 1)
        fitting(1, 1, self.max_bytes)


class MeanActivations(eqx.Module):
    """Sums `(ff,)` of a layer's neurons over the positions of a batch that count."""

    site: str = eqx.field(static=True)

    def __call__(self, batch: Batch, acts: Any) -> Any:
        x = wide(acts[self.site])
        return jnp.where(batch.positions[..., None], x, 0).sum((0, 1))


class Adding(eqx.Module):
    """Adds the sums of a batch to those of the groups of its rows, in float64. Its arrays say what was measured."""

    group: Any
    units: Any
    values: Any
    extra: Any
    parts: Any = eqx.field(static=True)

    def __call__(self, state: Any, batch: Batch, found: Any) -> Any:
        rows = self.parts.rows_of(int(batch.number))
        group = np.asarray(self.group)[rows]
        base, changes = (dict(part) for part in state)
        for sums, new in ((base, found[0]), (changes, found[1])):
            for name, x in new.items():
                more = np.asarray(x, np.float64).T[: len(rows)]  # (row,) or (row, n and what fills it up)
                sums[name] = sums[name].copy()
                np.add.at(sums[name], group, more[..., : sums[name].shape[1]] if more.ndim > 1 else more)
        return base, changes


@dataclasses.dataclass(frozen=True, eq=False)
class ClampSums:
    """Sums over tokens: `base[name] (group,)`, `changes[name] (group, n)`, and `tokens (group,)`."""

    base: dict[str, np.ndarray]
    changes: dict[str, np.ndarray]
    tokens: np.ndarray

    def mean(self, name: str) -> np.ndarray:
        """The mean change `(n,)` over tokens."""
        return self.changes[name].sum(0) / self.tokens.sum()

    def base_mean(self, name: str) -> float:
        """The mean over tokens of the model as it is."""
        return float(self.base[name].sum() / self.tokens.sum())


def predicting(model: Any, texts: Any, skip: int) -> Contexts:
    """Contexts where the tokens count from which a next one is predicted, without the first `skip`."""
    contexts = as_contexts(model, texts, skip=skip)
    counted = contexts.corpus.positions & contexts.corpus.mask
    counted[:, :-1] &= contexts.corpus.mask[:, 1:]
    counted[:, -1] = False
    keep = counted.any(1)
    if not keep.any():
        longest = int(contexts.corpus.mask.sum(1).max())
        raise ValueError(
            f"No token has a next one behind the first skip={skip}: the longest context has {longest} tokens. Give "
            "contexts of skip + 2 tokens or more, or settings=ji.neurons.ClampSettings(skip=0)."
        )
    corpus = dataclasses.replace(contexts.corpus, positions=counted)
    document = np.unique(contexts.document[keep], return_inverse=True)[1].reshape(-1)
    return contexts_of(corpus, keep, contexts.label[keep], document, contexts.names)


def means_of(
    model: Any, contexts: Contexts, layer: int, settings: ClampSettings, progress: bool
) -> np.ndarray:
    """The mean `(ff,)` of each neuron of a layer over the positions that count."""
    site = f"mlp_post[{layer}]"
    width = int(model.blocks.mlp.w_out.shape[1])
    parts = CorpusBatches(
        contexts.corpus, model, settings.batch_size, width=width, max_bytes=settings.max_bytes
    )

    def step(state: np.ndarray, batch: Batch, x: Any) -> np.ndarray:
        return state + np.asarray(x, np.float64)

    how: dict[str, Any] = {"progress": "means" if progress else False}
    sums = folded(parts, model, [site], np.zeros(width), step, per_batch=MeanActivations(site), **how)
    return sums / contexts.corpus.positions.sum()


def clamp_sums(
    model: Any,
    contexts: Contexts,
    layer: int,
    units: np.ndarray,
    values: np.ndarray,
    *,
    settings: ClampSettings,
    frequencies: Any = None,
    checkpoint: Any = None,
    progress: bool | str = True,
) -> ClampSums:
    """Effects of each clamp `units values (n,)` of a layer, in one compiled program for all."""
    corpus, vocab, count = contexts.corpus, int(model.config.vocab), layer_count(model)
    parts = CorpusBatches(
        corpus, model, settings.batch_size, width=2 * COPIES * vocab, max_bytes=settings.max_bytes
    )
    chunk = min(CHUNK, len(units))
    fill = -len(units) % chunk
    ids = jnp.asarray(np.pad(units, (0, fill), mode="edge"), jnp.int32)
    fixed = jnp.asarray(np.pad(values, (0, fill), mode="edge"), jnp.float32)
    within = CACHE if jax.default_backend() == "cpu" else settings.max_bytes
    block = min(fitting(1, COPIES * vocab, within), parts.size * int(corpus.tokens.shape[1]))
    clamped = ClampedRun(model, ids, fixed, frequencies, layer, count, chunk, block)
    group = contexts.document % GROUPS
    many = int(group.max()) + 1
    names = ["loss", "entropy", "rank", "reciprocal_rank", "scale"]
    names += [] if frequencies is None else ["to_unigram", "from_unigram"]
    more = ["total", "direct"] + ([] if frequencies is None else ["restored"])
    init = (
        {name: np.zeros(many) for name in names},
        {name: np.zeros((many, len(units))) for name in [*names, *more]},
    )
    adding = Adding(jnp.asarray(group, jnp.int32), ids, fixed, frequencies, parts)
    how: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress}
    base, changes = folded(parts, model, clamped.captures, init, adding, per_batch=clamped, **how)
    check_losses(base["loss"])
    return ClampSums(base, changes, np.bincount(group, corpus.positions.sum(1), many))


def intervals(
    parts: dict[str, Any], tokens: np.ndarray, settings: ClampSettings, key: Any, call: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ends `(n,)` of each part, a function of resampled means by name; NaN for one group of documents.

    `parts[name]` is a pair of a function and the sums `(group, n)` that it takes the means of.
    """
    key = jax.random.key(0) if key is None else key
    rng = host_generator(key, call)
    if not settings.resamples or len(tokens) < 2:
        nothing = lambda sums: np.full(sums[0].shape[1], np.nan)
        return {name: (nothing(sums), nothing(sums)) for name, (_, *sums) in parts.items()}
    weights = resample_counts(rng, len(tokens), int(settings.resamples))
    counts = np.maximum(weights @ tokens, 1)[:, None]
    levels = widened_levels(float(settings.level), len(tokens))
    found = {}
    for name, (function, *sums) in parts.items():
        drawn = function(*(weights @ each / counts for each in sums))
        low, high = np.quantile(drawn, levels, axis=0)
        found[name] = (low, high)
    return found
