r"""Contributions of tokens to tokens (ALTI): how much of each attention output comes from each source.

$$y_i = \sum_j T_i(x_j) + b_O, \qquad T_i(x_j) = \sum_h A^h_{ij} v^h_j W^h_O + [i = j]\, x_i$$
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arguments import as_numbers
from .._waiting import waiting
from ..core import run
from ..core._intervene import split_edits
from ..nn._linear import einsum
from ..typing import ArrayLike, EditsLike, MaskLike, ModelLike, TokensLike
from ..weights._leaves import check_layout, wide
from ._attention import flat_prompts

QUERIES = 32  # of which the vectors of all sources are held at once


@waiting("ji.heads.contributions: compiling and running")
def contributions(
    model: ModelLike, tokens: TokensLike, *, mask: MaskLike | None = None, edits: EditsLike = ()
) -> Float[Array, "layer *batch query key"]:
    r"""$c_{ij} \propto \max\big(0, \lVert y_i \rVert_1 - \lVert y_i - T_i(x_j) \rVert_1\big)$: how much position j contributes to the stream at i.

    ALTI, Ferrando et al. 2022 (https://arxiv.org/abs/2203.04212). The stream $y_i$ after attention is a sum of vectors
    $T_i(x_j)$, one for each source j; the residual connection belongs to the source i. A source contributes
    by how much its vector reduces the distance to the sum. Unlike attention this depends on the length of values.

    **Arguments:**

    - `model`: any model with its weights.
    - `tokens`: token ids `(*batch, pos)`.
    - `mask`: True at real tokens, as in `ji.run`; None by default.
    - `edits`: as in `ji.run`; none by default.

    **Returns:** `(layer, *batch, query, key)`. Rows sum to 1, those of padding are their own.

    **Raises:** ValueError for embeddings, and for a model without its leaves.

    ```python
    found = ji.heads.contributions(model, tokens)
    ji.heads.rollout(found)[-1, -1]                     # what each token adds to the last stream
    ```

    Laws: rows sum to 1; without values, attention adds nothing and each stream is its own.
    """
    inner = split_edits(model)[0]
    check_layout(inner, "contributions")
    ids, real = flat_prompts(model, tokens, mask)
    shape = jnp.shape(as_numbers(tokens, "tokens"))
    _, acts = run(model, ids, edits=edits, capture=["pattern", "v", "resid_pre"], mask=real, logits=False)
    found = _contributions(
        inner.blocks.attn.w_o, inner.blocks.attn.b_o, acts["pattern"], acts["v"], acts["resid_pre"]
    )
    own = jnp.eye(shape[-1], dtype=found.dtype)
    both = real[:, :, None] & real[:, None, :]
    found = jnp.where(both[None], found, jnp.where(real[:, :, None], 0, own[None])[None])
    return found.reshape(len(found), *shape[:-1], shape[-1], shape[-1])


@eqx.filter_jit
def _contributions(w_o: Array, b_o: Array | None, pattern: Array, values: Array, stream: Array) -> Array:
    """One layer and one prompt at a time."""

    def layer(xs: tuple[Array, Array | None, Array, Array, Array]) -> Array:
        w, b, pattern, v, x = xs
        bias = jnp.zeros(x.shape[-1], x.dtype) if b is None else b

        def prompt(one: tuple[Array, Array, Array]) -> Array:
            pattern, v, x = (wide(each) for each in one)
            v = jnp.repeat(v, len(w) // v.shape[-2], axis=-2)
            out = einsum("phk,hkd->phd", v, wide(w))

            def row(i: Array) -> Array:
                parts = einsum("hp,phd->pd", pattern[:, i], out)
                parts = parts.at[i].add(x[i])
                whole = parts.sum(0) + wide(bias)
                near = jnp.abs(whole).sum() - jnp.abs(whole[None] - parts).sum(-1)
                near = jnp.maximum(near, 0)
                total = near.sum()
                own = jnp.arange(len(x)) == i  # a stream that is zero holds nothing else
                return jnp.where(total > 0, near / jnp.where(total > 0, total, 1), own.astype(near.dtype))

            return jax.lax.map(row, jnp.arange(len(x)), batch_size=QUERIES)

        return jax.lax.map(prompt, (pattern, v, x))

    return jax.lax.map(layer, (w_o, b_o, pattern, values, stream))


def rollout(found: ArrayLike) -> Float[Array, "layer *batch query key"]:
    r"""$R_\ell = C_\ell C_{\ell - 1} \cdots C_1$: the contributions of input tokens to the streams of each layer.

    Abnar & Zuidema 2020 (https://arxiv.org/abs/2005.00928), of contributions in place of attention.

    **Arguments:**

    - `found (layer, *batch, query, key)`: of `contributions`, or patterns of attention with rows that sum to 1.

    **Returns:** the same shape.

    **Raises:** ValueError for another shape.

    ```python
    ji.heads.rollout(ji.heads.contributions(model, tokens))
    ```

    Law: rows that sum to 1 stay so.
    """
    steps = jnp.asarray(as_numbers(found, "contributions"))
    if steps.ndim < 3 or steps.shape[-1] != steps.shape[-2]:
        raise ValueError(f"Contributions are (layer, *batch, query, key); got the shape {steps.shape}.")
    return _rollout(steps)


@jax.jit
def _rollout(steps: Array) -> Array:
    def step(so_far: Array, own: Array) -> tuple[Array, Array]:
        found = einsum("...qj,...jk->...qk", own, so_far)
        return found, found

    start = jnp.broadcast_to(jnp.eye(steps.shape[-1], dtype=steps.dtype), steps.shape[1:])
    return jax.lax.scan(step, start, steps)[1]
