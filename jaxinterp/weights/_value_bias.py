"""Value biases, moved through the heads into the bias of attention's output."""

import jax.numpy as jnp

from ..typing import M
from ._leaves import check_layout, per_query_head, put, wide


def fold_value_bias(model: M) -> M:
    r"""$b_O' = b_O + \sum_h b_{V,h} W_{O,h},\quad b_V' = 0$.

    Rows of attention sum to one, so a head writes its value bias unchanged, wherever it attends. The bias can
    therefore move to the output bias of the block. This is `fold_value_biases` of TransformerLens.

    **Arguments:** `model`; with grouped heads each query head has the value bias of its group.

    **Returns:** a new model. A model without value biases is returned as it is. The activations at the sites `v`, `z`
    and `head_out` change.

    ```python
    folded = ji.weights.fold_value_bias(model)
    ```

    Law: log-probabilities stay the same, as long as rows of attention sum to one. An edit of `pattern` that changes
    this sum has another effect after folding.
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
