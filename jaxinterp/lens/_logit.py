r"""The logit lens, on the residual stream and on what single components write."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._waiting import waiting
from ..core._captures import at
from ..core._check import as_tokens
from ..core._intervene import split_edits
from ..core._run import run
from ..core._sites import axes_of, is_per_layer, parse
from ..mesh._gather import gather_weights, on_mesh
from ..typing import EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ..weights._components import norm_directions
from ..weights._leaves import check_layout, wide
from ._read import STREAMS, LogitLens, all_logits, as_positions, capture


@waiting("ji.lens.logit_lens: compiling and running")
def logit_lens(
    model: ModelLike,
    tokens: TokensLike,
    *,
    site: str | None = None,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
    pos: IndexLike | None = None,
) -> Float[Array, "layer *rest"]:
    r"""$\text{logits}_\ell = \mathrm{norm}(x_\ell)\,W_U + b_U$: the prediction of the model if it stopped after each layer.

    nostalgebraist 2020
    (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).

    **Arguments:**

    - `model`: any model of the protocol; components need its weights.
    - `tokens`: token ids `(*batch, pos)`, or embeddings `(*batch, pos, d)`, such as image tokens.
    - `site`: None (the default) reads the embedding and the output of each block. `"resid_pre"`,
      `"resid_mid"` or `"resid_post"` read that stream of each layer. A component (`"attn_out"`,
      `"mlp_out"`, `"head_out"`, `"embed"`, ...) is divided by the scale of the last norm in this run
      and read without the biases of norm and unembedding. The result is its share of the model's logits.
    - `mask`: True at real tokens, as in `ji.run`; None by default.
    - `edits`: as in `ji.run`; none by default.
    - `pos`: the positions to read; None (the default) for all. An int drops the axis, several ints give
      an axis of that length. With a mask they count the real tokens of each prompt.

    **Returns:** logits `(layer + 1, *batch, pos, vocab)`: row 0 reads the embedding, row
    $\ell + 1$ the output of block $\ell$. A site that each layer has gives `(layer, ...)`, and
    `"head_out"` gives `(layer, *batch, pos, head, vocab)`.

    Long prompts need much memory here. `ji.lens.summary` has the logits of one layer at a time.

    **Raises:** ValueError for a site of another width, or of one layer.

    ```python
    logits = ji.lens.logit_lens(model, tokenizer("The old man looked at his"), pos=-1)
    [tokenizer.decode([int(best)]) for best in logits.argmax(-1)]
    ```

    Laws: the last row is exactly the model's logits. The readings of the embedding, heads, MLPs and
    biases sum to the logits without the biases of norm and unembedding.
    """
    base = None if site is None else parse(site)
    if base is not None and (base[1] is not None or axes_of(base[0])[-1] != "d"):
        raise ValueError(
            "A lens reads a site of width d at every layer: resid_pre, resid_mid, resid_post, "
            f"attn_out, mlp_out, head_out; got {site!r}. Index the result to choose a layer."
        )
    name = None if base is None else base[0]
    if name is None or name in STREAMS:
        lens = LogitLens()
        streams = capture(model, tokens, lens, site=name, mask=mask, edits=edits, pos=pos)
        return all_logits(lens, streams, final=name in (None, "resid_post"))
    return component_logits(model, tokens, name, mask=mask, edits=edits, pos=pos)


def component_logits(
    model: ModelLike,
    tokens: TokensLike,
    site: str,
    *,
    mask: MaskLike | None,
    edits: EditsLike,
    pos: IndexLike | None,
) -> Float[Array, "*rest"]:
    """What one site adds to the logits, with the scale of the last norm in this run."""
    values, scale = capture_component(model, tokens, site, mask=mask, edits=edits, pos=pos)
    return _component_logits(split_edits(model)[0], values, scale, is_per_layer(site))


def capture_component(
    model: ModelLike,
    tokens: TokensLike,
    site: str,
    *,
    mask: MaskLike | None,
    edits: EditsLike,
    pos: IndexLike | None,
) -> tuple[Array, Array | None]:
    """A site, and the scale of the last norm `(*batch, pos, 1)` broadcast over the site's axes."""
    inner = split_edits(model)[0]
    check_layout(inner, "components")
    ids = as_tokens(tokens)
    as_positions(ids, pos, mask)
    captures = [at(site, pos=pos, name="values")]
    if inner.ln_final is not None:
        captures.append(at("ln_final_scale", pos=pos, name="scale"))
    _, acts = run(model, ids, edits=edits, capture=captures, mask=mask, logits=False)
    if inner.ln_final is None:
        return acts["values"], None
    scale = acts["scale"]
    if "head" in axes_of(site):
        scale = scale[..., None, :]
    return acts["values"], scale


def read_component(
    along: Float[Array, "d vocab"], values: Float[Array, "*batch d"], scale: Array | None
) -> Float[Array, "*batch vocab"]:
    """Components as logits, divided by the scale of the last norm where there is one."""
    out = jnp.einsum("...d,dv->...v", wide(values), along, precision="highest")
    if scale is not None:
        out = out / jnp.broadcast_to(wide(scale), out.shape)
    return out.astype(values.dtype)


def unembedding(model: Any) -> Float[Array, "d vocab"]:
    """The unembedding matrix, also where it is the embedding matrix transposed."""
    return model.w_embed.T if model.w_unembed is None else model.w_unembed


def component_directions(model: Any) -> Float[Array, "d vocab"]:
    """The unembedding with the gain and the centring of the last norm multiplied in."""
    w = unembedding(model)
    return wide(w) if model.ln_final is None else norm_directions(model.ln_final, w)[0]


@on_mesh
@eqx.filter_jit
def _component_logits(
    model: Any, values: Float[Array, "*axes d"], scale: Array | None, stacked: bool
) -> Float[Array, "*axes vocab"]:
    """A site as logits; one that all layers have is read layer by layer."""
    along = component_directions(gather_weights(model))
    if not stacked:
        return read_component(along, values, scale)

    def step(_: None, layer: Array) -> tuple[None, Array]:
        return None, read_component(along, layer, scale)

    return lax.scan(step, None, values)[1]
