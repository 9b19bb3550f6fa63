r"""The attention lens: what every head writes, read as tokens, as a whole or source by source."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..core._captures import at
from ..core._check import as_int, as_mask, as_tokens, check_index, logit_count
from ..core._intervene import split_edits
from ..core._positions import take_positions
from ..core._run import run
from ..weights._leaves import check_layout, wide
from ._logit import component_directions, read_component
from ._read import as_positions, token_shape


class HeadTokens(eqx.Module):
    """What heads write at one position, as tokens.

    `ids` and `logits` `(layer, *batch, head, top)`: the tokens that each head raises most and by
    how much; `low_ids` and `low_logits`, those it lowers most. With `sources`, there is a `key` axis
    before `top`: what a head writes because of one source position. `pattern`
    `(layer, *batch, head, key)` is where the position attends.
    """

    ids: Int[Array, "layer *rest"]
    logits: Float[Array, "layer *rest"]
    low_ids: Int[Array, "layer *rest"]
    low_logits: Float[Array, "layer *rest"]
    pattern: Float[Array, "layer *keys"]


def attention_lens(
    model: Any,
    tokens: Any,
    *,
    pos: int | Any = -1,
    top: int | Any = 5,
    sources: bool = False,
    mask: Any = None,
    edits: Any = (),
) -> HeadTokens:
    r"""$z_{\ell,h} W_O\, \tfrac{g}{s}\, W_U$, or $A_{\ell,h,j}\, v_{\ell,h,j} W_O\, \tfrac{g}{s}\, W_U$ for each source $j$.

    What a head writes into the stream at a position, divided by the scale that the last norm
    really had there and read through the unembedding: the tokens that it raises and lowers. A
    head's output is the sum over source positions of their values, weighted by attention; with
    `sources` each of these is read alone.

    **Arguments:**

    - `model`; `tokens` `(*batch, pos)` or embeddings.
    - `pos`: the position that is written to; with a mask it counts the real tokens of each prompt.
    - `top`: how many tokens to keep at either end.
    - `sources`: reads every source position alone.
    - `mask`, `edits`: as in `ji.run`.

    **Returns:** a `HeadTokens`. One layer's logits exist at a time.

    ```python
    read = ji.lens.attention_lens(model, tokens)
    read.ids[2, 3]                                      # what head 3 of layer 2 wants to say
    ```

    Laws: equal to the ends of `logit_lens(..., site="head_out")`; over sources the contributions
    sum to that.
    """
    inner = split_edits(model)[0]
    check_layout(inner, "attention_lens")
    tokens = as_tokens(tokens)
    pos, top = as_int(pos, "attention_lens: pos"), as_int(top, "top", 1)
    count = token_shape(tokens)[-1]
    check_index("pos", pos, count, "attention_lens")
    as_positions(tokens, pos, mask)
    vocab = logit_count(inner.config)
    if not 1 <= top <= vocab:
        raise ValueError(f"top lies in 1..{vocab}, the vocabulary; got {top}.")
    asked = ["pattern", "v" if sources else at("z", pos=pos, name="z")]
    if inner.ln_final is not None:
        asked.append(at("ln_final_scale", pos=pos, name="scale"))
    _, acts = run(model, tokens, edits=edits, capture=asked, mask=mask, logits=False)
    pattern = _row(acts["pattern"], jnp.asarray(pos), None if mask is None else as_mask(mask))
    scale = acts.get("scale")
    return _read(inner, acts["v" if sources else "z"], pattern, scale, top, sources)


def _row(
    pattern: Float[Array, "layer *batch head query key"], pos: Array, mask: Array | None
) -> Float[Array, "layer *batch head key"]:
    """The attention of one query, which counts real tokens where there is a mask."""
    queries = jnp.moveaxis(pattern, -2, -3)
    axis = queries.ndim - 4
    return jax.vmap(lambda layer: take_positions(layer, pos, axis, mask))(queries)


@eqx.filter_jit
def _read(
    model: Any, values: Array, pattern: Array, scale: Array | None, top: int, sources: bool
) -> HeadTokens:
    along = component_directions(model)
    w_o = model.blocks.attn.w_o

    def layer(_: None, xs: Any) -> Any:
        values, pattern, w_o = xs
        if sources:
            heads, own = w_o.shape[0], values.shape[-2]
            values = jnp.repeat(values, heads // own, axis=-2)
            out = jnp.einsum(
                "...hp,...phk,hkd->...hpd",
                wide(pattern),
                wide(values),
                wide(w_o),
                precision="highest",
            )
        else:
            out = jnp.einsum("...hk,hkd->...hd", wide(values), wide(w_o), precision="highest")
        by = scale
        if by is not None:
            by = by[..., None, None, :] if sources else by[..., None, :]
        logits = read_component(along, out, by)
        high, ids = lax.top_k(logits, top)
        low, low_ids = lax.top_k(-logits, top)
        return None, (ids.astype(jnp.int32), high, low_ids.astype(jnp.int32), -low)

    _, found = lax.scan(layer, None, (values, pattern, w_o))
    ids, high, low_ids, low = found
    return HeadTokens(ids, high, low_ids, low, pattern)
