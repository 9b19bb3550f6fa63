"""One transformer block: attention and MLP, one after the other or side by side."""

import equinox as eqx
from jaxtyping import Array, Float

from ..core._types import Context, Tap
from ._attention import Attention
from ._mlp import MLP
from ._norm import Norm


class Block(eqx.Module):
    r"""$x' = x + A(x)$, then $x' + M(x')$; or, in parallel, $x + A(x) + M(x)$.

    The norms are inside $A$ and $M$. In a model, the leaves of one `Block` are stacked on a
    leading layer axis, and a run slices or scans it. `mlp` is None in attention-only models, and norms
    are None in models without norms.

    ```python
    first = jax.tree.map(lambda leaf: leaf[0], model.blocks)    # the block of layer 0
    first.attn.w_q.shape, first.parallel
    ```
    """

    ln1: Norm | None
    attn: Attention
    ln2: Norm | None
    mlp: MLP | None
    parallel: bool = eqx.field(static=True, default=False)

    def __call__(
        self, resid: Float[Array, "*batch pos d"], ctx: Context, tap: Tap
    ) -> Float[Array, "*batch pos d"]:
        resid = tap("resid_pre", resid)
        attn_out = tap("attn_out", self.attn(resid, self.ln1, ctx, tap))
        if self.mlp is None:
            return tap("resid_post", resid + attn_out)
        if self.parallel:
            mlp_out = tap("mlp_out", self.mlp(resid, self.ln2, tap))
            return tap("resid_post", resid + attn_out + mlp_out)
        resid = tap("resid_mid", resid + attn_out)
        return tap("resid_post", resid + tap("mlp_out", self.mlp(resid, self.ln2, tap)))
