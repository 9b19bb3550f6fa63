r"""Ablation: what a cell's activation is worth, by putting something uninformative in its place."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._deprecations import respelled
from ..core._check import as_numbers
from ..core._select import POSITIONS
from ..core._sites import axes_of, is_per_layer, parse
from ..typing import (
    ArrayLike,
    AxesLike,
    BytesLike,
    FunctionLike,
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

    **Arguments:** as in `ji.patching.sweep`, with `tokens` in place of `clean` and `corrupt`, and

    - `values`: the values that replace the cell. Either a function of the activations of the site
      `(layer, batch, ...)`: `ji.patching.zeros`, `ji.patching.batch_mean`, `ji.patching.resample(key)`.
      Or an array that broadcasts against the activations, such as the mean over other prompts
      (`ji.patching.mean_activations`). A function with a parameter `real` also gets bools that broadcast
      against the activations, True at real tokens.

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
    r"""$v = 0$: zero ablation, for `values=` of `ji.patching.ablate`.

    ```python
    ji.patching.ablate(model, tokens, metric, values=ji.patching.zeros, over=("layer",))
    ```
    """
    return jnp.zeros_like(acts)


def batch_mean(
    acts: Float[Array, "layer batch *site"], real: Bool[Array, "..."] | None = None
) -> Float[Array, "layer batch *site"]:
    r"""$v = \frac1n \sum_b A_b$: mean ablation over the prompts of the batch, for `values=` of `ji.patching.ablate`.

    The mean is taken at each position by itself, so the prompts should share one template, as those of
    Wang et al. 2022 (https://arxiv.org/abs/2211.00593) do. A padded prompt counts in the columns where it
    has a real token.

    ```python
    ji.patching.ablate(model, tokens, metric, values=ji.patching.batch_mean, over=("layer", "head"))
    ```

    Law: where all prompts are equal, the metric stays.
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
    r"""$v_b = A_{\pi(b)}$: each prompt gets the activations of another prompt, for `values=` of `ji.patching.ablate`.

    Resample ablation, Chan et al. 2022, "Causal scrubbing". $\pi$ is a random cycle through all prompts, so
    no prompt keeps its own activations and the batch needs two prompts or more. A column in which the other
    prompt is padding stays as it was.

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
