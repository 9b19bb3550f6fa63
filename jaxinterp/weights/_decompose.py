r"""The residual stream as a sum of what was written to it: $x_\ell = \sum_i c_i$.

One run captures exactly what a decomposition needs, and nothing as wide as `d` is made for
components that are only projected.

Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..core._intervene import split_edits
from ..typing import ArrayLike, EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._components import Components
from ._leaves import check_layout, wide
from ._stream import CapturedStream, Reader, assemble, capture_stream


def by_layer(
    model: ModelLike,
    tokens: TokensLike,
    *,
    layer: int = -1,
    site: str = "resid_post",
    pos: IndexLike | None = None,
    onto: ArrayLike | None = None,
    norm: bool = False,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Components:
    r"""$x = e + p + \sum_\ell (a_\ell + m_\ell)$: the embeddings, and the outputs of attention and MLP of each layer.

    **Arguments:**

    - `model`: a model, or an intervened one.
    - `tokens`: token ids `(*batch pos)`.
    - `layer`, `site`: which stream; by default `"resid_post"` of the last block. `"resid_mid"` and
      `"resid_pre"` stop earlier in the block.
    - `pos`: which positions are kept, as in `ji.at`: an int drops the axis.
    - `onto`: a direction `(d,)` or several `(d, n)`: components become their projections
      (component *batch pos) or (component *batch pos n).
    - `norm`: applies the last norm with the scale of the stream (`apply_norm`); the bias of the norm is then one
      more component, `"ln_final.bias"`. For an earlier stream this is the reading of a logit lens.
    - `mask`, `edits`: as in `ji.run`. The part of the stream that comes from edits (also those of an intervened
      model) is one more component, `"edits"`, so that the sum always holds.

    **Returns:** `Components` (component *batch pos d), labelled `"embed"`, `"pos_embed"` (where
    positions are learned), `"attn_out[0]"`, `"mlp_out[0]"`, `"attn_out[1]"`, ...

    ```python
    values, labels = ji.weights.by_layer(model, tokens, pos=-1)
    ```

    Law: the sum is the captured stream.
    """
    reader = Reader.of(model, onto, norm)
    stream = capture_stream(
        model,
        tokens,
        ("attn_out", "mlp_out"),
        layer=layer,
        site=site,
        pos=pos,
        mask=mask,
        edits=edits,
    )
    return _by_layer(split_edits(model)[0], stream, reader)


@eqx.filter_jit
def _by_layer(model: Any, stream: CapturedStream, reader: Reader) -> Components:
    parts = []
    for layer in range(stream.attn):
        parts.append(_written(stream, reader, "attn_out", layer))
        if layer < stream.mlp:
            parts.append(_written(stream, reader, "mlp_out", layer))
    return assemble(model, stream, reader, parts)


def by_head(
    model: ModelLike,
    tokens: TokensLike,
    *,
    layer: int = -1,
    site: str = "resid_post",
    pos: IndexLike | None = None,
    onto: ArrayLike | None = None,
    norm: bool = False,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Components:
    r"""$x = e + p + \sum_{\ell,h} z_{\ell,h} W_{O,\ell,h} + \sum_\ell b_{O,\ell} + \sum_\ell m_\ell$: a stream by heads.

    **Arguments:** as `by_layer`. The outputs of all heads take much memory: choose
    positions with `pos`, or project with `onto`.

    **Returns:** `Components` (component *batch pos d), labelled `"embed"`, `"pos_embed"`, heads
    `"L0H0"`, `"L0H1"`, ..., `"attn.b_o"` (the output biases of all layers, where there are any) and
    `"mlp_out[0]"`, ... A head's value bias is part of the head (see `fold_value_bias`).

    ```python
    logit = ji.weights.by_head(model, tokens, pos=-1, norm=True, onto=model.w_unembed[:, token])
    ```

    Law: the sum is the captured stream.
    """
    check_layout(split_edits(model)[0], "by_head")
    reader = Reader.of(model, onto, norm)
    stream = capture_stream(
        model, tokens, ("z", "mlp_out"), layer=layer, site=site, pos=pos, mask=mask, edits=edits
    )
    return _by_head(split_edits(model)[0], stream, reader)


@eqx.filter_jit
def _by_head(model: Any, stream: CapturedStream, reader: Reader) -> Components:
    attn = model.blocks.attn
    parts = []
    for layer in range(stream.attn):
        z = jnp.moveaxis(stream.acts["z"][layer], -2, 0)
        w = reader.read(attn.w_o[layer])
        value = jnp.einsum("h...k,hkn->h...n", z, w, precision="highest")
        parts.append(([f"L{layer}H{head}" for head in range(len(z))], value))
    parts += _biases(stream, reader, attn.b_o, stream.attn, "attn.b_o")
    parts += [_written(stream, reader, "mlp_out", layer) for layer in range(stream.mlp)]
    return assemble(model, stream, reader, parts)


def by_neuron(
    model: ModelLike,
    tokens: TokensLike,
    *,
    layer: int = -1,
    site: str = "resid_post",
    pos: IndexLike | None = None,
    onto: ArrayLike | None = None,
    norm: bool = False,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Components:
    r"""$x = e + p + \sum_\ell a_\ell + \sum_{\ell,i} n_{\ell,i} w_{out,\ell,i} + \sum_\ell b_{out,\ell}$: a stream by neurons.

    **Arguments:** as `by_layer`. The outputs of all neurons at all positions would take
    `ff` times the memory of the stream for each layer, so `pos` or `onto` is required.

    **Returns:** `Components` (component *batch pos d), labelled `"embed"`, `"pos_embed"`,
    `"attn_out[0]"`, ..., neurons `"L0N0"`, `"L0N1"`, ... and `"mlp.b_out"` (the output biases of all
    layers, where there are any).

    ```python
    logit = ji.weights.by_neuron(model, tokens, norm=True, onto=model.w_unembed[:, token])
    ```

    Law: the sum is the captured stream.
    """
    inner = split_edits(model)[0]
    check_layout(inner, "by_neuron")
    if inner.blocks.mlp is None:
        raise ValueError(
            "This model is attention only (config.ff=0), it has no neurons: "
            "decompose it with ji.weights.by_head(model, tokens)."
        )
    if pos is None and onto is None:
        layers, neurons, d = inner.blocks.mlp.w_out.shape
        raise ValueError(
            f"{layers * neurons:,} neurons of width {d} at every position do not fit: choose "
            "positions, ji.weights.by_neuron(model, tokens, pos=-1), or project onto directions, "
            "onto=model.w_unembed[:, token]."
        )
    reader = Reader.of(model, onto, norm)
    stream = capture_stream(
        model,
        tokens,
        ("attn_out", "mlp_post"),
        layer=layer,
        site=site,
        pos=pos,
        mask=mask,
        edits=edits,
    )
    return _by_neuron(inner, stream, reader)


@eqx.filter_jit
def _by_neuron(model: Any, stream: CapturedStream, reader: Reader) -> Components:
    mlp = model.blocks.mlp
    parts = [_written(stream, reader, "attn_out", layer) for layer in range(stream.attn)]
    for layer in range(stream.mlp):
        post = jnp.moveaxis(stream.acts["mlp_post"][layer], -1, 0)
        w = reader.read(mlp.w_out[layer])
        w = w.reshape(w.shape[0], *(1,) * (post.ndim - 1), w.shape[-1])
        value = post[..., None] * jnp.broadcast_to(w, (*post.shape, w.shape[-1]))
        parts.append(([f"L{layer}N{i}" for i in range(len(post))], value))
    parts += _biases(stream, reader, mlp.b_out, stream.mlp, "mlp.b_out")
    return assemble(model, stream, reader, parts)


def _written(stream: CapturedStream, reader: Reader, site: str, layer: int) -> tuple[list[str], Array]:
    """One block's output at `site`, read, as a part with its label."""
    return [f"{site}[{layer}]"], reader.read(stream.acts[site][layer])[None]


def _biases(
    stream: CapturedStream, reader: Reader, b: Array | None, count: int, label: str
) -> list[tuple[list[str], Array]]:
    """What the first `count` layers' biases wrote, summed, as a part; none where there are none."""
    if b is None or count == 0:
        return []
    whole = stream.acts["stream"]
    total = wide(b[:count]).sum(0).astype(whole.dtype)
    return [([label], reader.read(jnp.broadcast_to(total, whole.shape))[None])]
