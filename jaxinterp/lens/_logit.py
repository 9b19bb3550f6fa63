r"""The logit lens, on the residual stream and on what single components write."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..core._captures import at
from ..core._check import as_tokens
from ..core._intervene import split_edits
from ..core._run import run
from ..core._sites import axes_of, is_per_layer, parse
from ..weights._components import norm_directions
from ..weights._leaves import check_layout, wide
from ._read import STREAMS, LogitLens, all_logits, as_positions, capture


def logit_lens(
    model: Any,
    tokens: Any,
    *,
    site: str | None = None,
    mask: Any = None,
    edits: Any = (),
    pos: Any = None,
) -> Float[Array, "layer *rest"]:
    r"""$\text{logits}_\ell = \mathrm{norm}(x_\ell)\,W_U + b_U$: what the model would say if it stopped there.

    nostalgebraist 2020
    (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).

    **Arguments:**

    - `model`; `tokens` `(*batch, pos)`, or embeddings `(*batch, pos, d)`, such as image tokens.
    - `site`: None reads the embedding and the output of every block. `"resid_pre"`, `"resid_mid"`
      or `"resid_post"` read that stream of every layer. A component (`"attn_out"`, `"mlp_out"`,
      `"head_out"`, `"embed"`, ...) is divided by the scale that the last norm really had and read
      without the biases of norm and unembedding: its own share of the model's logits.
    - `pos`: read these positions only: an int drops the axis, ints keep so many. With a mask they
      count the real tokens of each prompt.
    - `mask`, `edits`: as in `ji.run`.

    **Returns:** logits `(layer + 1, *batch, pos, vocab)`: row 0 reads the embedding, row
    $\ell + 1$ the output of block $\ell$. With a site of the layers `(layer, ...)`, with
    `"head_out"` `(layer, *batch, pos, head, vocab)`.

    For anything but a short prompt see `ji.lens.summary`, which never holds all logits.

    ```python
    model, tokenizer = ji.load("tiny")
    logits = ji.lens.logit_lens(model, tokenizer("The old man looked at his"), pos=-1)
    [tokenizer.decode([int(best)]) for best in logits.argmax(-1)]
    ```

    Laws: the last row is the model's own logits, exactly. The component readings of the embedding,
    heads, MLPs and biases sum to the logits less the biases of norm and unembedding.
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
    model: Any, tokens: Any, site: str, *, mask: Any, edits: Any, pos: Any
) -> Float[Array, "*rest"]:
    """What one site adds to the logits, the scale of the last norm held as the run made it."""
    values, scale = capture_component(model, tokens, site, mask=mask, edits=edits, pos=pos)
    return _component_logits(split_edits(model)[0], values, scale, is_per_layer(site))


def capture_component(
    model: Any, tokens: Any, site: str, *, mask: Any, edits: Any, pos: Any
) -> tuple[Array, Array | None]:
    """A site, and the scale of the last norm `(*batch, pos, 1)` broadcast over the site's axes."""
    inner = split_edits(model)[0]
    check_layout(inner, "components")
    tokens = as_tokens(tokens)
    as_positions(tokens, pos, mask)
    asked = [at(site, pos=pos, name="values")]
    if inner.ln_final is not None:
        asked.append(at("ln_final_scale", pos=pos, name="scale"))
    _, acts = run(model, tokens, edits=edits, capture=asked, mask=mask, logits=False)
    if inner.ln_final is None:
        return acts["values"], None
    scale = acts["scale"]
    if "head" in axes_of(site):
        scale = scale[..., None, :]
    return acts["values"], scale


def read_component(
    along: Float[Array, "d vocab"], values: Float[Array, "*batch d"], scale: Array | None
) -> Float[Array, "*batch vocab"]:
    out = jnp.einsum("...d,dv->...v", wide(values), along, precision="highest")
    if scale is not None:
        out = out / jnp.broadcast_to(wide(scale), out.shape)
    return out.astype(values.dtype)


def unembedding(model: Any) -> Float[Array, "d vocab"]:
    """The matrix that logits are read along, also where it is tied to the embedding."""
    return model.w_embed.T if model.w_unembed is None else model.w_unembed


def component_directions(model: Any) -> Float[Array, "d vocab"]:
    """The unembedding as components see it: behind the last norm's gain and centring."""
    w = unembedding(model)
    return wide(w) if model.ln_final is None else norm_directions(model.ln_final, w)[0]


@eqx.filter_jit
def _component_logits(
    model: Any, values: Float[Array, "*axes d"], scale: Array | None, stacked: bool
) -> Float[Array, "*axes vocab"]:
    along = component_directions(model)
    if not stacked:
        return read_component(along, values, scale)

    def step(_: None, layer: Array) -> Any:
        return None, read_component(along, layer, scale)

    return lax.scan(step, None, values)[1]
