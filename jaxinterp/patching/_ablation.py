r"""Ablation: what a cell's activation is worth, by putting something uninformative in its place."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._deprecations import respelled
from ..core._check import as_numbers, shown
from ..core._listing import sites
from ..core._select import POSITIONS
from ..core._sites import axes_of, is_per_layer, parse
from ..corpus._batches import Batch
from ..corpus._corpus import as_corpus, is_corpus
from ..corpus._fold import fold
from ..typing import (
    ArrayLike,
    AxesLike,
    BytesLike,
    CorpusLike,
    FunctionLike,
    IndexLike,
    IntLike,
    MaskLike,
    MetricLike,
    ModelLike,
    StrLike,
    TokensLike,
)
from ._pairs import PatchingPair, make_pair
from ._sweep import swept


@respelled(window="adjacent=")
def ablate(
    model: ModelLike,
    tokens: TokensLike,
    metric: MetricLike,
    *,
    values: FunctionLike | ArrayLike,
    site: StrLike = "z",
    over: AxesLike = ("layer", "head"),
    mask: MaskLike | None = None,
    per_example: bool = False,
    adjacent: IntLike = 1,
    max_bytes: BytesLike = "auto",
    progress: bool = True,
) -> Float[Array, "*cells"]:
    r"""$H_c = m\big(M(x \mid A_c \leftarrow v_c)\big)$: the metric after ablating each cell $c$ alone.

    **Arguments:** as in `patching.sweep`, with one prompt in place of two, and

    - `values`: what is put in. A function of the site's own activations `(layer, batch, ...)`:
      `patching.zeros`, `patching.batch_mean`, `patching.resample(key)`. Or an array that broadcasts
      against them, such as a mean over other prompts (`patching.mean_activations`). A function with a
      parameter `real` also gets bools, True at real tokens, that broadcast against the activations.

    **Returns:** the metric of every ablated run, with the axes of `over`.

    ```python
    ji.patching.ablate(model, tokens, metric, values=ji.patching.zeros, over=("layer", "head"))
    ```

    Law: each cell is the metric of one run with one `ji.replace` (with `ji.zero` for `zeros`).
    """
    pair = make_pair(model, tokens, tokens, mask, "noise")
    if not callable(values):
        array = as_numbers(values, "values")
        array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(np.float32)
        values = _aligned(jnp.asarray(array), site, pair.batch)
    elif mask is not None and "real" in inspect.signature(values).parameters:
        values = eqx.Partial(values, real=_real(pair, site))
    return swept(
        pair,
        pair.metric(metric),
        values,
        site=site,
        over=over,
        per_example=per_example,
        adjacent=adjacent,
        max_bytes=max_bytes,
        progress=progress,
    )


def _real(pair: PatchingPair, site: str) -> Bool[Array, "one batch *site"]:
    """Where a site is of real tokens: along its positions, or its queries and keys."""
    axes = axes_of(parse(site)[0])
    real = jnp.ones((1,) * (len(axes) + 1), bool)
    for i, axis in enumerate(axes):
        if axis in POSITIONS:
            along = [pair.pos if j == i else 1 for j in range(len(axes))]
            real = real & pair.flat_mask.reshape(-1, *along)
    return real[None] if is_per_layer(parse(site)[0]) else real


def _aligned(values: Array, site: str, batch: tuple[int, ...]) -> Array:
    """Values with one batch axis: of the site alone, (layer, *site), or of each prompt."""
    base, _ = parse(site)
    own, layer = len(axes_of(base)), int(is_per_layer(base))
    if values.ndim <= own:
        return values
    if values.ndim == own + layer:
        return jnp.expand_dims(values, layer)
    if values.ndim == own + layer + len(batch):
        sizes = values.shape[layer : layer + len(batch)]
        whole = jnp.broadcast_to(values, (*values.shape[:layer], *batch, *values.shape[layer + len(batch) :]))
        one = all(size == 1 for size in sizes)
        flat = values if one else whole
        return flat.reshape(*values.shape[:layer], -1, *values.shape[layer + len(batch) :])
    axes = ", ".join(axes_of(base))
    raise ValueError(
        f"values for {base!r} have the axes ({axes}), (layer, {axes}) or (layer, *batch, {axes}); got "
        f"the shape {values.shape}."
    )


def zeros(acts: Float[Array, "layer *site"]) -> Float[Array, "layer *site"]:
    r"""$v = 0$: zero ablation."""
    return jnp.zeros_like(acts)


def batch_mean(
    acts: Float[Array, "layer batch *site"], real: Bool[Array, "..."] | None = None
) -> Float[Array, "layer batch *site"]:
    r"""$v = \frac1n \sum_b A_b$: mean ablation over the prompts of the batch, position by position.

    Wang et al. 2022 (https://arxiv.org/abs/2211.00593), whose prompts share one template. Of padded
    prompts those count that have a real token in the column.
    """
    wide = acts.astype(np.promote_types(acts.dtype, np.float32))
    if real is None:
        mean = wide.mean(1, keepdims=True)
    else:
        real = jnp.broadcast_to(real, acts.shape)
        count = real.sum(1, keepdims=True, dtype=wide.dtype)
        mean = jnp.where(real, wide, 0).sum(1, keepdims=True) / jnp.maximum(count, 1)
    return jnp.broadcast_to(mean, acts.shape).astype(acts.dtype)


class resample(eqx.Module):
    r"""$v_b = A_{\pi(b)}$: each prompt gets what another one has; no prompt keeps its own.

    Resample ablation, Chan et al. 2022, "Causal scrubbing". $\pi$ is a random cycle, so a batch of
    two or more is needed. A column in which the other prompt is padding stays as it was.

    ```python
    ji.patching.ablate(model, tokens, metric, values=ji.patching.resample(jax.random.key(0)))
    ```
    """

    key: Any

    def __call__(
        self, acts: Float[Array, "layer batch *site"], real: Bool[Array, "..."] | None = None
    ) -> Float[Array, "layer batch *site"]:
        count = acts.shape[1]
        if count < 2:
            raise ValueError("resample gives each prompt what another one has: give two prompts or more.")
        ring = jax.random.permutation(self.key, count)
        other = jnp.roll(ring, 1)[jnp.argsort(ring)]
        if real is None:
            return acts[:, other]
        real = jnp.broadcast_to(real, acts.shape)
        return jnp.where(real[:, other], acts[:, other], acts)


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
) -> Float[Array, "layer *site"]:
    r"""$\bar A = \frac{1}{n} \sum_{x} A(x)$: the mean of a site over a corpus, batch by batch.

    **Arguments:**

    - `model`.
    - `tokens`: a `Corpus`, or ids `(row, pos)`; or a list of batches, each ids or (ids, mask).
    - `site`: a site of the blocks with positions, such as `"mlp_out"`.
    - `mask`, `positions`: real tokens and those that count, as in `ji.corpus.as_corpus`; by default
      all real tokens count.
    - `by_position`: keeps positions apart in place of averaging over them; all batches then have one
      length.
    - `batch_size`: rows of a forward pass; "auto" takes at most 32.

    **Returns:** the mean, float32, `(layer, 1, ...)` or `(layer, pos, ...)`: it broadcasts in
    `patching.ablate(..., values=...)`.

    ```python
    mean = ji.patching.mean_activations(model, tokens, "mlp_out")
    ji.patching.ablate(model, tokens, metric, values=mean, site="mlp_out", over=("layer", "pos"))
    ```

    Law: equal to the mean of the captured activations of all batches together.
    """
    base, _ = parse(site)
    if not is_per_layer(base) or "pos" not in axes_of(base):
        raise ValueError(f"mean_activations averages a site of the blocks with positions; got {site!r}.")
    step = SiteSums(base, by_position)
    state: Any = None
    for corpus in _corpora(tokens, mask, positions):
        length = int(corpus.tokens.shape[1])
        if state is None:
            shape = list(sites(model, jax.ShapeDtypeStruct((1, length), jnp.int32))[base].shape)
            shape[1:3] = [length if by_position else 1]
            state = np.zeros(shape, np.float32), np.zeros(shape[1], np.float32)
        elif by_position and length != state[1].shape[0]:
            raise ValueError("by_position=True needs prompts of one length in all batches.")
        state = fold(corpus, model, [base], state, step, batch_size=batch_size, progress=False)
    if state is None:
        raise ValueError("mean_activations needs at least one batch of tokens (batch, pos); got none.")
    total, count = map(jnp.asarray, state)
    count = count.reshape((1, -1) + (1,) * (total.ndim - 2))
    return total / jnp.maximum(jnp.broadcast_to(count, total.shape), 1)


def _corpora(tokens: Any, mask: Any, positions: Any) -> Iterator[Any]:
    """A corpus, or each batch of a list as one."""
    if is_corpus(tokens) or hasattr(tokens, "dtype"):
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
