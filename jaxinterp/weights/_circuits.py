"""QK and OV: what a head attends to and what it moves, as matrices over the residual stream."""

import jax.numpy as jnp

from ..typing import IndexLike, LayersLike, ModelLike
from ._factored import Factored
from ._leaves import check_layout, per_query_head


def qk(model: ModelLike) -> Factored:
    r"""$W_{QK} = W_Q W_K^\top$ per head: $x_q W_{QK} x_k^\top$ is the score between two residual streams.

    Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html). Without biases
    and without the factor $1/\sqrt k$; call `fold_norms` first to have the norm's gain in it.

    **With rotary positions** the score depends on the distance too, $x_q W_Q R_{q-k} W_K^\top x_k$:
    this is the matrix at distance zero only.

    **Returns:** a `Factored` (layer head d d) of rank `k`; key heads are repeated for the query
    heads that share them.

    ```python
    ji.weights.qk(model)[2, 5].norm()
    ```

    Law: `qk(model).full()[l, h]` is `w_q[l, h] @ w_k[l, g].T`, of the head's group `g`.
    """
    inner = check_layout(model, "qk")
    attn = inner.blocks.attn
    return Factored(attn.w_q, jnp.swapaxes(per_query_head(inner, attn.w_k), -1, -2))


def ov(model: ModelLike) -> Factored:
    r"""$W_{OV} = W_V W_O$ per head: $x W_{OV}$ is what the head writes when it attends to $x$.

    Elhage et al. 2021 (https://transformer-circuits.pub/2021/framework/index.html). Without biases
    (see `fold_value_bias`); call `fold_norms` first to have the norm's gain in it.

    **Returns:** a `Factored` (layer head d d) of rank `k`; value heads are repeated for the query
    heads that share them.

    ```python
    values = ji.weights.ov(model).eigenvalues()         # (layer, head, k): positive for copying heads
    ```

    Law: `ov(model).full()[l, h]` is `w_v[l, g] @ w_o[l, h]`, of the head's group `g`.
    """
    inner = check_layout(model, "ov")
    attn = inner.blocks.attn
    return Factored(per_query_head(inner, attn.w_v), attn.w_o)


def full_qk(model: ModelLike, *, layer: LayersLike | None = None, head: IndexLike | None = None) -> Factored:
    r"""$W_E W_{QK} W_E^\top$: how much each token, as a query, attends to each token, as a key.

    The direct path, without positions and norms. Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `model`: a model with the leaves of `ji.models`.
    - `layer`, `head`: which layers and heads, ints or slices; all by default. All factors of GPT-2
      small take 3.7 GB, those of one head 26 MB.

    **Returns:** a `Factored` (layer head vocab vocab), or less the axes chosen by ints.

    ```python
    ji.weights.full_qk(model, layer=0, head=3).svd()
    ```

    Law: `full_qk(model).full()` is `w_embed @ qk(model).full() @ w_embed.T`.
    """
    inner = check_layout(model, "full_qk")
    return inner.w_embed @ _chosen(qk(inner), layer, head) @ inner.w_embed.T


def full_ov(model: ModelLike, *, layer: LayersLike | None = None, head: IndexLike | None = None) -> Factored:
    r"""$W_E W_{OV} W_U$: how much attending to each token raises the logit of each token.

    The direct path, without norms; `fold_norms` first puts their gains in. Elhage et al. 2021
    (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `model`: a model with the leaves of `ji.models`.
    - `layer`, `head`: which layers and heads, ints or slices, as in `full_qk`.

    **Returns:** a `Factored` (layer head vocab vocab), or less the axes chosen by ints. Its
    eigenvalues, positive for a copying head, come from a `(k, k)` matrix.

    ```python
    values = ji.weights.full_ov(model, layer=0, head=3).eigenvalues()
    copying = values.sum().real / abs(values).sum()
    ```

    Law: `full_ov(model).full()` is `w_embed @ ov(model).full() @ w_unembed`.
    """
    inner = check_layout(model, "full_ov")
    unembed = inner.w_embed.T if inner.w_unembed is None else inner.w_unembed
    return inner.w_embed @ _chosen(ov(inner), layer, head) @ unembed


def _chosen(factored: Factored, layer: LayersLike | None, head: IndexLike | None) -> Factored:
    every = slice(None)
    return factored[every if layer is None else layer, every if head is None else head]
