"""Activations of a corpus as arrays: read batch by batch, reduced at the site."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .._deprecations import respelled
from ..core._check import as_int
from ..corpus._corpus import as_corpus
from ..corpus._positions import after_first
from ..typing import CaptureLike, CorpusLike, DTypeLike, IndexLike, MaskLike, ModelLike
from ._reading import batch_of, plan


@respelled(real="mask=padding_mask, and positions= for what counts", batch="batch_size=")
def activations(
    model: ModelLike,
    tokens: CorpusLike,
    site: CaptureLike,
    *,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    reduce: str | None = None,
    pos: IndexLike | None = None,
    index: IndexLike | None = None,
    next_token: bool = False,
    dtype: DTypeLike | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> np.ndarray | dict[str, np.ndarray]:
    r"""$X_{ij} = r_{p \in P_i}\, a_j(t_i)_p$: one row of activations per token or per sequence.

    Only the result and one batch are in memory.

    **Arguments:**

    - `model`: as in `ji.run`, `ji.intervene`d ones included.
    - `tokens`: ids `(seq, pos)`, or a `Corpus`, which has its own mask and positions.
    - `site`: a site (`"mlp_post"` for all layers, `"mlp_post[3]"`), a `ji.at(...)`, or a list of
      them, all read in the same passes.
    - `mask` `(seq, pos)`: True at real tokens, for padding on the left or right.
    - `positions`: the positions that count, as in `ji.corpus.as_corpus`: bools `(seq, pos)`, ints or a slice. By
      default every real token. `slice(1, None)`, or `keep(mask)`, leaves out BOS.
    - `reduce`: `"mean"`, `"max"`, `"sum"` or `"last"` over the positions that count: a row per
      sequence. None: a row per position that counts, in the order of `seq * ctx + pos`.
    - `pos`: instead, the same positions of every sequence: an int or ints `(n,)`, which count real
      tokens; or columns per sequence `(seq, n)`. With `reduce`, the reduction is over them.
    - `index`: instead, tokens `(row,)`, each `seq * ctx + pos`, in any order; only the sequences that
      hold one are run.
    - `next_token`: takes the activations at the position before each chosen one, just before the model
      reads the token. The first position of a sequence has no position before it.
    - `dtype`: of the result; by default the model's own.
    - `batch_size`: sequences per pass, 32 by default.
    - `progress`: a bar when it takes more than two seconds.

    **Returns:** a NumPy array `(*layer, row, ...)`, the layer axis only for a site named without a
    layer; for a list of sites a dict by their names. With `pos` of several positions and no
    `reduce`, `(*layer, seq, n, ...)`.

    **Raises:** `ValueError` or `IndexError` before anything runs, for shapes, ids, sites, positions
    that are padding; while running, for activations that are not finite.

    Section 4 of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    ```python
    tokens, mask = tokenizer(["Das ist gut.", "This is good."])
    x = ji.data.activations(model, tokens, "mlp_post", mask=mask, reduce="mean")
    x.shape                                            # (layer, 2, ff)
    ```

    Law: equal to running every sequence alone and reducing afterwards.
    """
    if next_token:
        tokens, positions, index = _shifted(tokens, mask, positions, index, pos)
        mask = None
    several = None if isinstance(site, str) or not isinstance(site, Iterable) else list(site)
    site = site if several is None else several
    inverse = None
    if index is not None:
        index = np.asarray(index)
        if index.ndim == 1 and index.size and not (np.diff(index) > 0).all():
            _, inverse = np.unique(index, return_inverse=True)
    reading = plan(model, tokens, site, mask=mask, positions=positions, reduce=reduce, pos=pos, index=index)
    size = batch_of(reading, batch_size)
    rows = len(reading.index)
    out = {
        name: np.empty((*(() if layers is None else (layers,)), rows, *row), own if dtype is None else dtype)
        for name, (layers, row, own) in reading.shapes.items()
    }

    def keep_rows(start: int, part: dict[str, np.ndarray]) -> None:
        for name, x in part.items():
            stacked = reading.shapes[name][0] is not None
            n = x.shape[int(stacked)]
            target = out[name][:, start : start + n] if stacked else out[name][start : start + n]
            target[...] = x.astype(target.dtype)

    reading.read(keep_rows, size, progress="activations" if progress else False)
    if inverse is not None:
        out = {
            name: x[:, inverse] if reading.shapes[name][0] is not None else x[inverse]
            for name, x in out.items()
        }
    return next(iter(out.values())) if several is None else out


@respelled(real="mask")
def keep(mask: MaskLike, *, skip: int = 1) -> np.ndarray:
    r"""$P_{ip} = [\,p \text{ real}\,]\,[\,\text{rank}_i(p) \ge s\,]$: all but the first real tokens, for `positions=`.

    **Arguments:**

    - `mask` `(seq, pos)`: True at real tokens, for padding on the left or right.
    - `skip`: tokens at the start of each sequence that do not count, 1 by default. 1 leaves out BOS,
      whose activations are outliers; the tables of Gurnee et al. leave out up to 100.

    **Returns:** bools `(seq, pos)`.

    ```python
    tokens, mask = tokenizer(["one text", "another text"], bos=True)
    x = ji.data.activations(model, tokens, "mlp_post", mask=mask, positions=ji.data.keep(mask))
    ```

    Law: every row loses `min(skip, its length)` positions.
    """
    real, skip = np.asarray(mask), as_int(skip, "skip")
    if real.ndim != 2 or real.dtype != bool or skip < 0:
        raise ValueError(
            f"keep takes a padding mask (seq, pos) of bools and skip >= 0; got {real.shape} of "
            f"{real.dtype}, skip={skip}."
        )
    return after_first(real, skip)


def _shifted(tokens: Any, mask: Any, positions: Any, index: Any, pos: Any) -> tuple[Any, Any, Any]:
    """The corpus, and the positions or the index of the tokens before the chosen ones."""
    if pos is not None:
        raise ValueError("next_token shifts positions or an index; give pos - 1 yourself.")
    if index is None and positions is None and not hasattr(tokens, "positions"):
        raise ValueError("next_token needs positions= or index=: which tokens are to be predicted?")
    corpus = as_corpus(tokens, mask=mask, positions=positions)
    width = int(corpus.tokens.shape[1])
    first = "The first token of a sequence has none before it; leave it out: positions=slice(1, None)."
    if index is not None:
        index = np.asarray(index)
        if (index % width == 0).any() or not np.asarray(corpus.mask).reshape(-1)[index - 1].all():
            raise ValueError(first)
        return corpus, None, index - 1
    chosen = np.asarray(corpus.positions)
    shifted = np.concatenate([chosen[:, 1:], np.zeros_like(chosen[:, :1])], -1)
    if chosen[:, 0].any() or (shifted & ~corpus.mask).any():
        raise ValueError(first)
    return corpus, shifted, None
