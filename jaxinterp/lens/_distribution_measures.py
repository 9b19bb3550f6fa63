"""Measures of a lens over whole texts: its bias in the mean, and bits per byte."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_numbers, concrete
from .._waiting import waiting
from ..core._check import as_mask, logit_count
from ..core._intervene import config_of
from ..mesh._gather import on_mesh
from ..typing import ArrayLike, EditsLike, MaskLike, ModelLike, TokensLike
from ._chunks import sum_of_chunks
from ._measures import kl
from ._read import Lens, LogitLens, Streams, capture, over_rows, token_shape, with_logits


@waiting("ji.lens.marginal_bias: compiling and running")
def marginal_bias(
    model: ModelLike,
    tokens: TokensLike,
    *,
    lens: Lens | None = None,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Float[Array, " row"]:
    r"""$\mathrm{KL}\big(\mathbb{E}\,p \,\|\, \mathbb{E}\,p_\ell\big)$: how far the mean prediction of each row is from the model's, in nats.

    A lens that prefers some tokens after every text is biased. Belrose et al. 2023
    (https://arxiv.org/abs/2303.08112).

    **Arguments:**

    - `model`, `tokens`, `edits`: as in `ji.lens.summary`.
    - `lens`: a `TunedLens` or `JacobianLens`; None (the default) for the logit lens.
    - `mask`: True at real tokens, over which the means are taken; None by default.

    **Returns:** `(row + 1,)`. The last row is the model itself, and has 0.

    **Raises:** the errors of `ji.lens.logit_lens`.

    ```python
    ji.lens.marginal_bias(model, tokens, lens=tuned)
    ```

    Law: at most the mean KL of `ji.lens.summary`, since KL is convex.
    """
    lens = LogitLens() if lens is None else lens
    streams = capture(model, tokens, lens, mask=mask, edits=edits, own=False)
    real = jnp.ones(token_shape(jnp.asarray(tokens)), bool) if mask is None else as_mask(mask)
    return _marginal_bias(lens, streams, real, logit_count(config_of(model)))


@on_mesh
@eqx.filter_jit
def _marginal_bias(lens: Lens, streams: Streams, real: Array, vocab: int) -> Array:
    dtype = np.promote_types(streams.after.dtype, np.float32)
    weight = real.astype(dtype)
    weight = weight / weight.sum()

    def add(total: Array, part: Streams, weight: Array, _: Array | None) -> Array:
        def mean(logits: Array) -> Array:
            probs = jax.nn.softmax(logits.astype(dtype), -1)
            return (probs * weight[..., None]).reshape(-1, vocab).sum(0)

        return total + over_rows(lens, with_logits(part), mean)

    start = jnp.zeros((len(streams.picked) + 1, vocab), dtype)
    means = jnp.log(sum_of_chunks(add, start, streams, weight, None, vocab))
    return kl(jnp.broadcast_to(means[-1:], means.shape), means)


def bits_per_byte(nats: ArrayLike, tokens: ArrayLike, size: ArrayLike) -> Float[Array, "*n"]:
    r"""$\frac{\text{nats} \cdot \text{tokens}}{\text{bytes} \cdot \ln 2}$: a loss that can be compared between models with different tokenizers.

    **Arguments:**

    - `nats`: nats per token, such as `summary(...).mean("cross_entropy")`.
    - `tokens`: how many tokens were predicted.
    - `size`: how many bytes the text has: `len(text.encode())`.

    **Returns:** bits for each byte, of the shape of `nats`.

    **Raises:** ValueError for no tokens or no bytes.

    ```python
    ji.lens.bits_per_byte(3.1, tokens=len(ids) - 1, size=len(text.encode()))
    ```

    Law: where each token is one byte, it is the loss in bits.
    """
    loss, count, total = (
        jnp.asarray(as_numbers(x, name), jnp.result_type(float))
        for x, name in ((nats, "nats"), (tokens, "tokens"), (size, "size"))
    )
    for name, value in (("tokens", count), ("size", total)):
        if concrete(value) and (np.asarray(value) <= 0).any():
            raise ValueError(f"{name} is how many there are, 1 or more; got {np.asarray(value)}.")
    shape = np.broadcast_shapes(loss.shape, count.shape, total.shape)
    loss, count, total = (jnp.broadcast_to(x, shape) for x in (loss, count, total))
    return loss * count / (total * math.log(2))
