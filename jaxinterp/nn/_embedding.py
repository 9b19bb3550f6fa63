"""The first and the last step of a model: tokens to the stream, and the stream to logits."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core._types import Tap
from ._linear import add_bias, einsum
from ._norm import Norm


def embed(
    w_embed: Float[Array, "vocab d"],
    tokens: Int[Array, "*batch pos"] | Float[Array, "*batch pos d"],
    tap: Tap,
) -> Float[Array, "*batch pos d"]:
    """`w_embed[tokens]`: the embeddings of tokens. Embeddings (soft tokens) in place of tokens stay as they are.

    **Arguments:**

    - `w_embed`: the embedding `(vocab, d)`.
    - `tokens`: ids `(*batch, pos)`, or embeddings `(*batch, pos, d)`.
    - `tap`: called at the site `embed`.

    ```python
    ji.nn.embed(model.w_embed, tokens, lambda site, x: x)       # (pos, d)
    ```
    """
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    return tap("embed", tokens.astype(w_embed.dtype) if soft else w_embed[tokens])


def unembed(
    resid: Float[Array, "*batch pos d"],
    norm: Norm | None,
    w_unembed: Float[Array, "d vocab_out"] | None,
    w_embed: Float[Array, "vocab d"],
    b_unembed: Float[Array, " vocab_out"] | None,
    tap: Tap,
) -> Float[Array, "*batch pos vocab_out"]:
    """`norm(resid) @ w_unembed + b_unembed`: the logits of the last residual stream.

    **Arguments:**

    - `resid`: the last stream `(*batch, pos, d)`.
    - `norm`: the last norm, or None.
    - `w_unembed`: `(d, vocab_out)`, or None for `w_embed` transposed (a tied unembedding).
    - `w_embed`: `(vocab, d)`.
    - `b_unembed`: `(vocab_out,)`, or None.
    - `tap`: called at the sites of the norm and at `logits`.

    ```python
    resid = ji.run(model, tokens, capture=["resid_post[-1]"])[1]["resid_post[-1]"]
    ji.nn.unembed(resid, model.ln_final, model.w_unembed, model.w_embed, None, lambda site, x: x)
    ```
    """
    x = resid if norm is None else norm(resid, tap, "ln_final")
    if w_unembed is None:
        logits = einsum("...pd,vd->...pv", x, w_embed)
    else:
        logits = einsum("...pd,dv->...pv", x, w_unembed)
    return tap("logits", add_bias(logits, b_unembed))
