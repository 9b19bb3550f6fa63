"""Copying: whether what a head attends to becomes what it predicts."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import weights
from .._arguments import check_key
from .._deprecations import key_by_name, respelled
from ..core._check import check_predicts_tokens
from ..core._intervene import config_of
from ..core._run import run
from ..mesh._gather import on_mesh
from ..typing import ArrayLike, KeyLike, ModelLike
from ._prompts import draw_blocks

COPIES = "A head copies a token when it raises the logit of that token"


def copying_scores(model: ModelLike, *, fold: bool = True) -> Float[Array, "layer head"]:
    r"""$\sum_i \mathrm{Re}\,\lambda_i \,/\, \sum_i |\lambda_i|$ over the eigenvalues of $W_E W_{OV} W_U$.

    Where eigenvalues are positive, attending to a set of tokens raises the logits of that set. They are
    computed from the $(k, k)$ matrix $W_O W_U W_E W_V$, which has the same eigenvalues. Elhage et al.
    2021 (https://transformer-circuits.pub/2021/framework/index.html).

    **Arguments:**

    - `model`: a model of next tokens, with its weights.
    - `fold`: multiplies the gains of the norms into the weights first (`ji.weights.fold_norms`); True
      by default.

    **Returns:** `(layer, head)`, in -1..1; 0 for a head that writes nothing that is unembedded. The
    score describes the direct path from the embedding alone. A head deep in a model reads more.

    ```python
    ji.heads.copying_scores(model)[4, 2]
    ```

    Law: equal to the same ratio of the eigenvalues of `ji.weights.full_ov`.
    """
    weights.ov(model)  # raises where the leaves are not there
    check_predicts_tokens(config_of(model), COPIES)
    return _eigenvalue_scores(model, fold)


@eqx.filter_jit
def _eigenvalue_scores(model: Any, fold: bool) -> Float[Array, "layer head"]:
    model = weights.fold_norms(model) if fold else model
    ov = weights.ov(model)
    unembed = model.w_embed.T if model.w_unembed is None else model.w_unembed
    wide = np.promote_types(model.w_embed.dtype, np.float32)
    middle = jnp.einsum("dv,ve->de", unembed.astype(wide), model.w_embed.astype(wide), precision="highest")
    values = weights.Factored(
        ov.left.astype(wide),
        jnp.einsum("lhkd,de->lhke", ov.right.astype(wide), middle, precision="highest"),
    ).eigenvalues()
    size = jnp.abs(values).sum(-1)
    # The eigenvalues of a nilpotent matrix are 0 (a head that writes where nothing reads); rounding makes 1e-7.
    scale = jnp.sqrt(jnp.square(ov.left.astype(wide)).sum((-2, -1)))
    scale = scale * jnp.sqrt(jnp.square(ov.right.astype(wide)).sum((-2, -1)))
    scale = scale * jnp.sqrt(jnp.square(middle).sum())
    writes = size > 1e-6 * scale
    return jnp.where(writes, values.real.sum(-1) / jnp.where(writes, size, 1), 0)


@key_by_name("ji.heads.copying_behaviour(model, key=jax.random.key(0))")
@respelled(batch="batch_size=")
def copying_behaviour(
    model: ModelLike,
    *,
    key: KeyLike,
    block: int | None = None,
    batch_size: int = 8,
    bos: int | None = None,
    ids: ArrayLike | None = None,
) -> Float[Array, "layer head"]:
    r"""$\sum_{tj} A_{tj}\,(2 s_j - 1) / \sum_{tj} A_{tj}$, $s_j = r_{jj} / \sum_i r_{ji}$, $r_{ji} = \max(0,\ c_{ji} - \bar c_j)$.

    The value that a head moves from position $j$ raises the logits of the prompt's tokens $x_i$ directly by
    $c_{ji} = v_j W_O W_U[:, x_i]$. $s_j$ is the share of the token $x_j$ itself in all increases above
    the mean. The shares are averaged with the attention to $j$ as weights, and scaled: 1 stands for a share of 1,
    and -1 for a share of 0. By chance $s$ is one over the number of tokens. Olsson et al. 2022
    (https://arxiv.org/abs/2209.11895) do not define the scale. Unlike `copying_scores` this score uses
    what the head reads in a context.

    **Arguments:**

    - `model`: a model of next tokens, with its weights. The gain of the last norm is folded; its scale
      does not matter.
    - `key`: a `jax.random.key`, for the prompts: one round of different random tokens.
    - `block`: how many tokens; 25 by default.
    - `batch_size`, `bos`, `ids`: as in `repeated_tokens`.

    **Returns:** `(layer, head)`, in -1..1; 0 where a head writes nothing that is unembedded. Attention
    to BOS does not count.

    ```python
    ji.heads.copying_behaviour(model, key=jax.random.key(0), block=25, bos=tokenizer.bos_id)
    ```

    Law: 1 for the planted induction head, whose value circuit copies, wherever it attends.
    """
    check_predicts_tokens(config_of(model), COPIES)
    key = check_key(key, "ji.heads.copying_behaviour(model, key={})")
    tokens = draw_blocks(
        config_of(model), key, block=block, repeats=1, rows=batch_size, bos=bos, ids=ids, longest=25
    )
    return _behaviour(model, tokens, bos is not None)


@on_mesh
@eqx.filter_jit
def _behaviour(model: Any, tokens: Int[Array, "batch pos"], bos: bool) -> Float[Array, "layer head"]:
    model = weights.fold_norms(model)
    size = tokens.shape[-1]
    unembed = model.w_embed.T if model.w_unembed is None else model.w_unembed
    attn = model.blocks.attn
    group = attn.w_q.shape[-3] // attn.w_k.shape[-3]
    # BOS is no token to copy.
    real = jnp.arange(size) >= int(bos)

    def one(ids: Array) -> tuple[Array, Array]:
        _, acts = run(model, ids, capture=["v", "pattern"], logits=False)
        wide = np.promote_types(acts["v"].dtype, np.float32)
        values = jnp.repeat(acts["v"].astype(wide), group, axis=-2)
        written = jnp.einsum(
            "lhkd,di->lhki",
            attn.w_o.astype(wide),
            unembed[:, ids].astype(wide),
            precision="highest",
        )
        raised = jnp.einsum("ljhk,lhki->lhji", values, written, precision="highest")
        mean = jnp.where(real, raised, 0).sum(-1, keepdims=True) / real.sum(dtype=wide)
        raised = jnp.where(real, jax.nn.relu(raised - mean), 0)
        total = raised.sum(-1)
        own = jnp.diagonal(raised, axis1=-2, axis2=-1)
        share = jnp.where(total > 0, 2 * own / jnp.where(total > 0, total, 1) - 1, 0)
        weight = jnp.where(real, acts["pattern"].astype(wide).sum(-2), 0)
        return (weight * share).sum(-1), weight.sum(-1)

    hits, weight = jax.lax.map(one, tokens)
    return hits.sum(0) / weight.sum(0)


def copied_tokens(
    model: ModelLike,
    ids: ArrayLike,
    *,
    top: int = 5,
    bos: int | None = None,
    sign: int | Sequence[int] = 1,
) -> Float[Array, "*sign layer head"]:
    r"""$\mathrm{mean}_i\,[\,i \in \mathrm{top}_n(\pm\, x_i W_{OV} W_U)\,]$: the share of tokens that a head would copy.

    Each token is a prompt of its own. Its stream after the first block goes through the head's values
    and the unembedding. A token counts when its logit is among the `top` largest. This is the copy
    score of name movers, Wang et al. 2022 (https://arxiv.org/abs/2211.00593).

    **Arguments:**

    - `model`: a model of next tokens, with its weights.
    - `ids`: token ids `(n,)`.
    - `top`: how many of the largest logits count; 5 by default.
    - `bos`: the id of the token before each; None (the default): there is none.
    - `sign`: 1 (the default) for the largest logits, -1 for the smallest, which negative heads have;
      `(1, -1)` for both in one pass.

    **Returns:** `(layer, head)`, in 0..1; several signs give a leading axis.

    **Raises:** IndexError for ids outside of the vocabulary; ValueError for another `sign` or `top`.

    ```python
    names = [tokenizer.token_id(name) for name in (" Mary", " John", " Anna")]
    ji.heads.copied_tokens(model, names)
    ```

    Law: 1 for the planted induction head, whose value circuit copies every token.
    """
    ids = np.atleast_1d(np.asarray(ids))
    check_predicts_tokens(config_of(model), COPIES)
    vocab = config_of(model).vocab
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or not ids.size:
        raise ValueError(f"ids are token ids (n,), one at least; got {ids.shape} of {ids.dtype}.")
    if ids.min() < 0 or ids.max() >= vocab:
        raise IndexError(f"Token ids lie in 0..{vocab - 1}; got {ids.min()}..{ids.max()}.")
    signs = tuple(np.atleast_1d(sign).tolist())
    if not signs or not set(signs) <= {1, -1} or not 1 <= top <= vocab:
        raise ValueError(f"sign is 1, -1 or (1, -1) and top from 1 to {vocab}; got sign={sign}, top={top}.")
    before = [] if bos is None else [bos]
    rows = jnp.asarray([[*before, int(i)] for i in ids], jnp.int32)
    shares = _copied(model, rows, top)
    both = jnp.stack([shares[one == -1] for one in signs])
    return both[0] if np.ndim(sign) == 0 else both


@eqx.filter_jit
def _copied(model: Any, rows: Array, top: int) -> tuple[Array, Array]:
    """Shares among the largest and among the smallest logits, (layer, head) each."""
    model = weights.fold_norms(model)
    _, acts = run(model, rows, capture=["resid_post[0]"], logits=False)
    stream = acts["resid_post[0]"][:, -1]
    wide = np.promote_types(stream.dtype, np.float32)
    unembed = model.w_embed.T if model.w_unembed is None else model.w_unembed
    ov = weights.ov(model)

    # Norms scale a stream by a positive number, and centring is folded: the order stays.
    def head(factors: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = (x.astype(wide) for x in factors)
        value = jnp.matmul(stream.astype(wide), left, precision="highest")
        written = jnp.matmul(value, right, precision="highest")
        logits = jnp.matmul(written, unembed.astype(wide), precision="highest")
        own = jnp.take_along_axis(logits, rows[:, -1:], 1)
        # A head that writes nothing ties everything, and copies nothing.
        above, below = (logits >= own).sum(-1) <= top, (logits <= own).sum(-1) <= top
        return above.astype(wide).mean(), below.astype(wide).mean()

    layers, heads = ov.shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(layers * heads, *x.shape[2:]), (ov.left, ov.right))
    return jax.tree.map(lambda x: x.reshape(layers, heads), jax.lax.map(head, flat))
