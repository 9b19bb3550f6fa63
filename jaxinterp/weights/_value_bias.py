"""Value biases, moved through the heads into the bias of attention's output."""

import jax.numpy as jnp

from ..typing import M
from ._leaves import check_layout, per_query_head, put, wide


def fold_value_bias(model: M) -> M:
    r"""$b_O' = b_O + \sum_h b_{V,h} W_{O,h},\quad b_V' = 0$.

    Attention rows sum to one, so a head passes its value bias on unchanged, wherever it attends:
    the bias belongs to the block, not to the head. `fold_value_biases` of TransformerLens.

    **Arguments:** `model`; with grouped heads each query head passes on its group's bias.

    **Returns:** a new model; one without value biases comes back as it is. What changes besides
    weights: the sites `v`, `z` and `head_out`.

    ```python
    folded = ji.weights.fold_value_bias(model)
    ```

    Law: log-probabilities stay what they were, as long as attention rows sum to one: an edit of
    `pattern` that breaks that means something else before and after.
    """
    inner = check_layout(model, "fold_value_bias")
    attn = inner.blocks.attn
    if attn.b_v is None:
        return model
    bias = wide(per_query_head(inner, attn.b_v))
    moved = jnp.einsum("lhk,lhkd->ld", bias, wide(attn.w_o), precision="highest")
    before = jnp.zeros_like(moved) if attn.b_o is None else wide(attn.b_o)
    return put(
        model,
        {
            "blocks.attn.b_o": (before + moved).astype(attn.w_o.dtype),
            "blocks.attn.b_v": jnp.zeros_like(attn.b_v),
        },
    )
