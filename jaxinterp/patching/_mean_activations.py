"""Mean activations of a corpus, as values for ablations."""

from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._deprecations import respelled
from .._waiting import waiting
from ..core._check import shown
from ..core._listing import sites
from ..core._sites import axes_of, is_per_layer, parse
from ..corpus._batches import Batch
from ..corpus._corpus import as_corpus, is_corpus
from ..corpus._fold import fold
from ..typing import (
    CorpusLike,
    IndexLike,
    MaskLike,
    ModelLike,
)


@respelled(batches="tokens=")
def mean_activations(
    model: ModelLike,
    tokens: CorpusLike,
    site: str,
    *,
    mask: MaskLike | None = None,
    positions: IndexLike | None = None,
    by_position: bool = False,
    batch_size: int | str = "auto",
    progress: bool = True,
) -> Float[Array, "layer *site"]:
    r"""$\bar A = \frac{1}{n} \sum_{x} A(x)$: the mean of a site over a corpus, batch by batch.

    **Arguments:**

    - `model`: as in `ji.run`.
    - `tokens`: a `Corpus`, or ids `(row, pos)`; or a list of batches, each ids or (ids, mask).
    - `site`: a site of the blocks with positions, such as `"mlp_out"`.
    - `mask`, `positions`: the real tokens, and the tokens that count, as in `ji.corpus.as_corpus`. By default
      all real tokens count.
    - `by_position`: takes a mean at each position by itself; all batches then need one length.
    - `batch_size`: rows of a forward pass; "auto" takes at most 32.
    - `progress`: a bar once two seconds have passed; for a list of batches, a line; True by default.

    **Returns:** the mean, float32, `(layer, 1, ...)` or `(layer, pos, ...)`: it broadcasts in
    `ji.patching.ablate(..., values=...)`.

    ```python
    mean = ji.patching.mean_activations(model, tokens, "mlp_out")
    ji.patching.ablate(model, tokens, metric, values=mean, site="mlp_out", over=("layer", "pos"))
    ```

    Law: it is the mean over the captured activations of all batches.
    """
    base, _ = parse(site)
    if not is_per_layer(base) or "pos" not in axes_of(base):
        raise ValueError(f"mean_activations averages a site of the blocks with positions; got {site!r}.")
    step = SiteSums(base, by_position)
    state: Any = None
    one, bar = _is_one(tokens), f"mean of {base}"
    with waiting(f"ji.patching.mean_activations of {base}", bool(progress) and not one):
        for corpus in _corpora(tokens, mask, positions):
            length = int(corpus.tokens.shape[1])
            if state is None:
                shape = list(sites(model, jax.ShapeDtypeStruct((1, length), jnp.int32))[base].shape)
                shape[1:3] = [length if by_position else 1]
                state = np.zeros(shape, np.float32), np.zeros(shape[1], np.float32)
            elif by_position and length != state[1].shape[0]:
                raise ValueError("by_position=True needs prompts of one length in all batches.")
            state = fold(
                corpus, model, [base], state, step, batch_size=batch_size, progress=progress and one and bar
            )
    if state is None:
        raise ValueError("mean_activations needs at least one batch of tokens (batch, pos); got none.")
    total, count = map(jnp.asarray, state)
    count = count.reshape((1, -1) + (1,) * (total.ndim - 2))
    return total / jnp.maximum(jnp.broadcast_to(count, total.shape), 1)


def _is_one(tokens: Any) -> bool:
    """Whether this is one corpus; otherwise it is a list of batches."""
    return is_corpus(tokens) or hasattr(tokens, "dtype")


def _corpora(tokens: Any, mask: Any, positions: Any) -> Iterator[Any]:
    """A corpus, or each batch of a list as one."""
    if _is_one(tokens):
        yield as_corpus(tokens, mask=mask, positions=positions)
        return
    if isinstance(tokens, str) or not isinstance(tokens, Iterable) or isinstance(tokens, eqx.Module):
        raise ValueError(
            "mean_activations takes a Corpus, tokens (row, pos), or a list of tokens or of (tokens, mask); "
            f"got {shown(tokens)}."
        )
    if mask is not None:
        raise ValueError("In a list of batches each has its own mask: [(tokens, mask), ...].")
    for item in tokens:
        ids, real = item if isinstance(item, tuple) else (item, None)
        yield as_corpus(ids, mask=real, positions=positions)


class SiteSums(eqx.Module):
    """One batch of a fold: activations of a site and how many count, added up."""

    site: str = eqx.field(static=True)
    by_position: bool = eqx.field(static=True)

    def __call__(self, state: tuple[Array, Array], batch: Batch, acts: Any) -> tuple[Array, Array]:
        x = acts[self.site].astype(jnp.float32)  # (layer, row, pos, ...)
        counted = batch.positions
        keep = counted.reshape(1, *counted.shape, *(1,) * (x.ndim - 3))
        x = jnp.where(jnp.broadcast_to(keep, x.shape), x, 0).sum(1)
        count = counted.sum(0, dtype=jnp.float32)
        if not self.by_position:
            x, count = x.sum(1, keepdims=True), count.sum(keepdims=True)
        return state[0] + x, state[1] + count
