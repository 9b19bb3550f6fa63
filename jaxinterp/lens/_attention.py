r"""The attention lens: the tokens that a head raises and lowers, in total or for each source position."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._tabular import Record, Tabular
from ..core._captures import at
from ..core._check import as_int, as_mask, as_tokens, check_index, logit_count
from ..core._intervene import split_edits
from ..core._positions import take_positions
from ..core._run import run
from ..mesh._gather import gather_weights, on_any_mesh
from ..typing import EditsLike, IntLike, MaskLike, ModelLike, TokensLike
from ..weights._leaves import check_layout, wide
from ._logit import component_directions, read_component
from ._measures import top_tokens
from ._read import as_positions, token_shape


class HeadTokens(Tabular, eqx.Module):
    """The tokens that heads raise and lower at one position; made by `attention_lens`.

    With `sources=True` there is a `key` axis before `top`: the part of a head's output that comes from one
    source position.

    ```python
    read = ji.lens.attention_lens(model, tokens)
    read.ids[2, 3], read.logits[2, 3]                   # of head 3 in layer 2
    ```
    """

    ids: Int[Array, "layer *rest"]
    "The tokens that each head raises most, `(layer, *batch, head, top)`."
    logits: Float[Array, "layer *rest"]
    "How much it raises their logits, `(layer, *batch, head, top)`."
    low_ids: Int[Array, "layer *rest"]
    "The tokens that each head lowers most, `(layer, *batch, head, top)`."
    low_logits: Float[Array, "layer *rest"]
    "How much it adds to their logits (a number below 0), `(layer, *batch, head, top)`."
    pattern: Float[Array, "layer *keys"]
    "The attention of the position, `(layer, *batch, head, key)`."

    def records(self) -> list[Record]:
        """A row for each head (and source): indices, and the ids and logits of the tokens it raises and lowers."""
        names = ("ids", "logits", "low_ids", "low_logits")
        parts = {name: np.asarray(getattr(self, name)) for name in names}
        return [
            {"layer": at[0], **{f"axis {i}": j for i, j in enumerate(at[1:], 1)}}
            | {name: part[at].tolist() for name, part in parts.items()}
            for at in np.ndindex(self.ids.shape[:-1])
        ]


def attention_lens(
    model: ModelLike,
    tokens: TokensLike,
    *,
    pos: IntLike = -1,
    top: IntLike = 5,
    sources: bool = False,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> HeadTokens:
    r"""$z_{\ell,h} W_O\, \tfrac{g}{s}\, W_U$, or $A_{\ell,h,j}\, v_{\ell,h,j} W_O\, \tfrac{g}{s}\, W_U$ for each source $j$.

    The output of a head at one position is divided by the scale of the last norm in this run, and read
    through the unembedding. A head's output is a sum over source positions of their values, weighted by
    attention. With `sources=True` each term of the sum is read alone.

    **Arguments:**

    - `model`: any model with its weights.
    - `tokens`: token ids `(*batch, pos)` or embeddings `(*batch, pos, d)`.
    - `pos`: the position that the heads write to; -1 (the last) by default. With a mask it counts the
      real tokens of each prompt.
    - `top`: how many tokens are returned at either end; 5 by default.
    - `sources`: reads each source position alone; False by default.
    - `mask`: True at real tokens, as in `ji.run`; None by default.
    - `edits`: as in `ji.run`; none by default.

    **Returns:** a `HeadTokens`. The logits of one layer exist at a time.

    **Raises:** IndexError for a position out of range; ValueError for `top` outside of 1..vocab.

    ```python
    read = ji.lens.attention_lens(model, tokens)
    read.ids[2, 3]                                      # the tokens that head 3 of layer 2 raises most
    ```

    Laws: equal to the largest and smallest logits of `logit_lens(..., site="head_out")`; the logits of
    all sources sum to that.
    """
    inner = split_edits(model)[0]
    check_layout(inner, "attention_lens")
    ids = as_tokens(tokens)
    pos, top = as_int(pos, "attention_lens: pos"), as_int(top, "top", 1)
    count = token_shape(ids)[-1]
    check_index("pos", pos, count, "attention_lens")
    as_positions(ids, pos, mask)
    vocab = logit_count(inner.config)
    if not 1 <= top <= vocab:
        raise ValueError(f"top lies in 1..{vocab}, the size of the vocabulary; got {top}.")
    captures = ["pattern", "v" if sources else at("z", pos=pos, name="z")]
    if inner.ln_final is not None:
        captures.append(at("ln_final_scale", pos=pos, name="scale"))
    _, acts = run(model, ids, edits=edits, capture=captures, mask=mask, logits=False)
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


@on_any_mesh
@eqx.filter_jit
def _read(
    model: Any, values: Array, pattern: Array, scale: Array | None, top: int, sources: bool
) -> HeadTokens:
    """The largest and smallest logits of all heads, one layer at a time."""
    along = component_directions(gather_weights(model))

    def layer(_: None, xs: tuple[Array, Array, Array]) -> tuple[None, tuple[Array, ...]]:
        values, pattern, w_o = xs
        w_o = gather_weights({"w_o": w_o}, "blocks.attn.", layer=True)["w_o"]
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
        divisor = scale
        if divisor is not None:
            divisor = divisor[..., None, None, :] if sources else divisor[..., None, :]
        logits = read_component(along, out, divisor)
        high, ids = top_tokens(logits, top)
        low, low_ids = top_tokens(-logits, top)
        return None, (ids.astype(jnp.int32), high, low_ids.astype(jnp.int32), -low)

    _, (ids, high, low_ids, low) = lax.scan(layer, None, (values, pattern, model.blocks.attn.w_o))
    return HeadTokens(ids, high, low_ids, low, pattern)
