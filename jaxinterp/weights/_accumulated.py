"""The residual stream between the blocks, layer after layer."""

import jax.numpy as jnp

from ..core._blocks import layer_count
from ..core._captures import at
from ..core._run import run
from ..typing import EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._components import Components


def accumulated(
    model: ModelLike,
    tokens: TokensLike,
    *,
    mid: bool = False,
    pos: IndexLike | None = None,
    mask: MaskLike | None = None,
    edits: EditsLike = (),
) -> Components:
    r"""$x_0, x_1, \dots, x_L$: the residual stream before the first block and after each block.

    **Arguments:**

    - `model`: a model, or an intervened one.
    - `tokens`: token ids `(*batch pos)`.
    - `mid`: adds the stream between attention and MLP, which parallel blocks do not have.
    - `pos`: which positions, as in `ji.at`.
    - `mask`, `edits`: as in `ji.run`.

    **Returns:** `Components` (layer + 1, *batch, pos, d), labelled by the captures they are:
    `"resid_pre[0]"`, `"resid_post[0]"`, ... These are running sums: they do not add up to anything.

    ```python
    streams, labels = ji.weights.accumulated(model, tokens, pos=-1)
    ```

    Law: each is the capture that it is labelled by, bit for bit.
    """
    count = layer_count(model)
    request = [at("resid_pre", layer=0, pos=pos), at("resid_post", pos=pos)]
    if mid:
        request.append(at("resid_mid", pos=pos))
    _, acts = run(model, tokens, edits=edits, capture=request, mask=mask, logits=False)
    values, labels = [acts["resid_pre[0]"][None]], ["resid_pre[0]"]
    for layer in range(count):
        for name in ["resid_mid", "resid_post"] if mid else ["resid_post"]:
            values.append(acts[name][layer][None])
            labels.append(f"{name}[{layer}]")
    return Components(jnp.concatenate(values), tuple(labels))
