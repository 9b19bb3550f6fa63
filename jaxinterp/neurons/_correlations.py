"""How alike the units of two models, layers or dictionaries are: all pairs, in one pass over a corpus."""

import dataclasses
from typing import Any

import jax
import numpy as np

from ..corpus._checkpoint import Checkpoint
from ..typing import BytesLike, CorpusLike, KeyLike, MeshLike, PathLike, StrLike, UnitsLike
from ._chance import as_chance
from ._correlations_result import Correlations
from ._pair_reading import as_pair
from ._ranks import Measure, as_measure, sampled
from ._row_blocks import as_limit, row_blocks

KEPT = 16  # matches of each unit that are kept where the matrix is not


def correlations(
    stream_a: UnitsLike,
    stream_b: UnitsLike,
    corpus: CorpusLike | None = None,
    *,
    measure: StrLike | Measure = "pearson",
    baseline: StrLike | None = None,
    key: KeyLike | None = None,
    batch_size: int | str = "auto",
    max_bytes: BytesLike = "auto",
    mesh: MeshLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
) -> Correlations:
    r"""$r_{ij} = \mathrm{corr}_t(a_i(t), b_j(t))$ of every unit i of one stream with every unit j of another.

    Gurnee et al. 2024 (https://arxiv.org/abs/2401.12181) compare the neurons of models that differ in their seed in
    this way. The corpus is read once. Each batch is centred by its own mean and multiplied in float32 at full precision;
    batches are merged by the formula of Chan et al. and summed with compensation. Where the matrix
    does not fit in `max_bytes`, the corpus is read once for each block of rows, and only the best
    16 matches of each unit are kept.

    **Arguments:**

    - `stream_a`, `stream_b`: two models, whose neurons `mlp_post` of all layers are compared;
      `ji.neurons.UnitStream(model, site, dictionary=)` for another site or a dictionary's features; or two
      arrays `(token, unit)` with the same tokens. The same model twice runs once.
    - `corpus`: the corpus that the models read, with a mask and positions of its own (`ji.corpus.as_corpus(tokens,
      mask=, positions=)`); no corpus for arrays.
    - `measure`: "pearson", "spearman", "cosine" or "jaccard", or a `ji.neurons.Measure` with the share of
      tokens that "jaccard" calls active. Ranks of "spearman" and thresholds of "jaccard" come from a
      sample of tokens in a pass before; they are exact where the sample is all tokens (`rank_error`).
    - `baseline`: the correlations by chance that `.excess` subtracts. "rotation": the units of the second stream,
      layer by layer, times a Gaussian matrix with rows of norm 1, at most 4,096 units at a time; "permutation": the
      second stream at other tokens of the same batch; "gaussian": independent normal numbers.
    - `key`: a `jax.random.key`, for the baseline.
    - `batch_size`: rows of the corpus, or tokens of arrays, that are read at a time.
    - `max_bytes`: the most bytes of the sums and the units of a batch on one device, and of the matrix that is
      returned. "auto" is 1 GiB.
    - `mesh`: rows of the matrix, and rows of a batch, lie over its axis "data".
    - `checkpoint`: a file, or `ji.corpus.Checkpoint(path, every=)`; an interrupted call continues from it.
      Several blocks have a file each, `path.1`, `path.2`, ....

    **Returns:** `Correlations`, with `.top(k)`, `.matrix` and `.excess`. A unit that never varies has 0
    everywhere, and so has a unit of a model whose activations are below 1e-19, whose squares float32 does not hold.

    **Raises:** ValueError for models of different vocabularies, a stream that has no row for each token, an
    empty corpus, and activations that are not finite.

    ```python
    found = ji.neurons.correlations(model, other, tokens, baseline="rotation", key=jax.random.key(0))
    found.top(3).values, (found.excess > 0.5).mean()
    ```

    Laws: it is equal to `np.corrcoef` in float64 to 1e-5 for any batch size and offset; a padded batch gives
    the same as its rows without padding; blocks of rows, a mesh and an interruption change nothing.
    """
    measure = as_measure(measure)
    limit = as_limit(max_bytes)
    pair = as_pair(stream_a, stream_b, corpus, measure=measure, mixed=baseline == "rotation")
    chance = as_chance(baseline, key, pair.read.sides[1])
    pair = dataclasses.replace(pair, read=dataclasses.replace(pair.read, chance=chance))
    how: dict[str, Any] = {"batch_size": batch_size, "mesh": mesh}
    rank_error = 0.0
    if measure.ranked:
        ranks, rank_error = sampled(measure, pair, max(1, limit // 2), **how)
        pair = dataclasses.replace(pair, read=dataclasses.replace(pair.read, ranks=ranks))
    first, second = pair.read.sides
    n_a, n_b = first.count, second.count
    keep = min(KEPT, n_b)
    values, partners = np.zeros((n_a, keep), np.float32), np.zeros((n_a, keep), np.int32)
    by_chance = None if chance is None else np.zeros(n_a, np.float32)
    entries = np.zeros((n_a, n_b), np.float32) if 4 * n_a * n_b <= limit else None
    for here, r in row_blocks(pair, measure, limit, checkpoint, how):
        values[here], partners[here] = map(np.asarray, jax.lax.top_k(r[:, :n_b], keep))
        if entries is not None:
            entries[here] = np.asarray(r[:, :n_b])
        if by_chance is not None:
            by_chance[here] = np.asarray(r[:, n_b:].max(1))
    return Correlations(
        values, partners, first.table, second.table, pair.tokens, measure.name, rank_error, by_chance, entries
    )
