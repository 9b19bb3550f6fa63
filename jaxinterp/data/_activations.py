"""Activations of a corpus as arrays: read batch by batch, reduced at the site."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core._check import as_int
from ._reading import plan


def activations(
    model: Any,
    tokens: Any,
    site: Any,
    *,
    mask: Any = None,
    reduce: str | None = None,
    pos: Any = None,
    index: Any = None,
    next_token: bool = False,
    real: Any = None,
    dtype: Any = None,
    batch: int = 32,
    progress: bool = True,
) -> Any:
    r"""$X_{ij} = r_{p \in P_i}\, a_j(t_i)_p$: one row of activations per token or per sequence.

    What is not asked for leaves no trace: beyond the result, one batch is held at a time.

    **Arguments:**

    - `model`: as in `ji.run`, `ji.intervene`d ones included.
    - `tokens`: ids `(seq, pos)`, or a `Corpus`, which brings its own masks.
    - `site`: a site (`"mlp_post"` for all layers, `"mlp_post[3]"`), a `ji.at(...)`, or a list of
      them, all read in the same passes.
    - `mask`: `(seq, pos)`, True at positions that count; leave out BOS and padding. A mask of the
      form that a tokenizer returns for padded prompts also tells the model what is padding. See
      `keep` to make one.
    - `reduce`: `"mean"`, `"max"`, `"sum"` or `"last"` over the positions that count: a row per
      sequence. None: a row per position that counts, in the order of `seq * ctx + pos`.
    - `pos`: instead, given positions: an int or ints `(n,)`, which count the real tokens of each
      sequence (`real`, or else `mask`); or columns per sequence `(seq, n)`. Together with `reduce`,
      reduced over.
    - `index`: instead, given tokens `(row,)`, each `seq * ctx + pos`, in any order; only the
      sequences that hold one are run.
    - `next_token`: rows come from the position before each chosen one: what the model knows just
      before it reads the token. The first position of a sequence has none before it.
    - `real`: `(seq, pos)`, True at what is not padding, where `mask` chooses among real tokens
      and the padding is on the left.
    - `dtype`: of the result; by default the model's own.
    - `batch`: sequences per pass. `progress`: a bar when it takes more than two seconds.

    **Returns:** a NumPy array `(*layer, row, ...)`, the layer axis only for a site named without a
    layer; for a list of sites a dict by their names. With `pos` of several positions and no
    `reduce`, `(*layer, seq, n, ...)`.

    **Raises:** `ValueError` or `IndexError` before anything runs, for shapes, ids, sites, empty
    masks; while running, for activations that are not finite.

    Section 4 of Gurnee et al. 2023 (https://arxiv.org/abs/2305.01610).

    ```python
    tokens, mask = tokenizer(["Das ist gut.", "This is good."])
    x = ji.data.activations(model, tokens, "mlp_post", mask=mask, reduce="mean")
    x.shape                                            # (layer, 2, ff)
    ```

    Law: equal to running every sequence alone and reducing afterwards.
    """
    if next_token:
        tokens, mask, real, index, reduce = _shifted(tokens, mask, real, index, reduce, pos)
    inverse = None
    if index is not None:
        index = np.asarray(index)
        if index.ndim == 1 and index.size and not (np.diff(index) > 0).all():
            _, inverse = np.unique(index, return_inverse=True)
    reading = plan(model, tokens, site, mask=mask, real=real, reduce=reduce, pos=pos, index=index)
    check_batch(batch)
    rows = len(reading.index)
    out = {
        name: np.empty((*(() if layers is None else (layers,)), rows, *row), own if dtype is None else dtype)
        for name, (layers, row, own) in reading.shapes.items()
    }
    size = min(batch, len(reading.sequences))
    for start, part in watched(
        reading.batches(size), -(-len(reading.sequences) // size), "activations", progress
    ):
        for name, x in part.items():
            stacked = reading.shapes[name][0] is not None
            n = x.shape[int(stacked)]
            target = out[name][:, start : start + n] if stacked else out[name][start : start + n]
            target[...] = x.astype(target.dtype)
    if inverse is not None:
        out = {
            name: x[:, inverse] if reading.shapes[name][0] is not None else x[inverse]
            for name, x in out.items()
        }
    return out if isinstance(site, list | tuple) else next(iter(out.values()))


def keep(real: Any, *, skip: int = 1) -> np.ndarray:
    r"""$m_{ip} = [\,p \text{ real}\,]\,[\,\text{rank}_i(p) \ge s\,]$: all but the first real tokens.

    **Arguments:** `real` `(seq, pos)`, True at what is not padding (left or right); `skip` tokens
    at the start of each sequence that do not count: 1 leaves out BOS, whose activations are
    outliers; the tables of Gurnee et al. leave out up to 100.

    **Returns:** a mask `(seq, pos)`.

    ```python
    tokens, real = tokenizer(["one text", "another text"], bos=True)
    mask = ji.data.keep(real, skip=1)
    ```

    Law: every row loses `min(skip, its length)` positions.
    """
    real, skip = np.asarray(real), as_int(skip, "skip")
    if real.ndim != 2 or real.dtype != bool or skip < 0:
        raise ValueError(
            f"keep takes a padding mask (seq, pos) of bools and skip >= 0; got {real.shape} of "
            f"{real.dtype}, skip={skip}."
        )
    return real & (np.cumsum(real, -1) > skip)


def _shifted(tokens: Any, mask: Any, real: Any, index: Any, reduce: Any, pos: Any) -> Any:
    """The request of the positions before the chosen ones."""
    if hasattr(tokens, "tokens") and hasattr(tokens, "real"):
        mask = tokens.mask if mask is None and index is None else mask
        real = tokens.real if real is None else real
        tokens = tokens.tokens
    if pos is not None:
        raise ValueError("next_token shifts a mask or an index; give pos - 1 yourself.")
    if index is None and mask is None:
        raise ValueError("next_token needs mask= or index=: which tokens are to be foretold?")
    shape = np.shape(tokens)
    first = "The first token of a sequence has none before it; leave it out: mask[:, 0] = False."
    if index is not None:
        index = np.asarray(index)
        if (index % shape[-1] == 0).any():
            raise ValueError(first)
        before = index - 1
        if real is not None and not np.asarray(real).reshape(-1)[before].all():
            raise ValueError(first)
        return tokens, None, real, before, reduce
    mask = np.broadcast_to(np.asarray(mask), shape)
    if mask[..., 0].any():
        raise ValueError(first)
    shifted = np.concatenate([mask[..., 1:], np.zeros_like(mask[..., :1])], -1)
    if real is None:
        # A shifted mask no longer has the form of padding, so this is the caller's to say.
        ends = mask[..., -1].all() and len(np.unique(mask.argmax(-1))) > 1
        if ends:
            raise ValueError("With padding on the left, next_token needs real=padding_mask.")
        real = np.ones(shape, bool)
    elif (shifted & ~np.asarray(real)).any():
        raise ValueError(first)
    return tokens, shifted, real, None, reduce


def check_batch(batch: Any) -> None:
    if not isinstance(batch, int | np.integer) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"batch is the number of sequences per pass, at least 1; got {batch!r}.")


def watched(items: Iterable[Any], total: int, what: str, progress: bool) -> Iterable[Any]:
    """The same, with a bar once it has taken two seconds."""
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc=what, unit="batch", delay=2.0, disable=not progress)
