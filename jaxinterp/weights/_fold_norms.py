"""Gains and shifts of norms, moved into the matrices that read them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..typing import M
from ._leaves import READERS, check_layout, leaf, matmul, put, untied, wide


def fold_norms(model: M, *, center: bool = True) -> M:
    r"""$W' = \mathrm{diag}(g)\,W,\quad b' = b + c\,W$: moves the gain $g$ and the shift $c$ of norms into their readers.

    The readers are queries, keys and values for the first norm of a block, the input (and gate) of the MLP for the
    second, and the unembedding for the last norm. Afterwards a norm only centres and scales (RMSNorm: only scales), so
    weights can be compared across layers without the norms. This is `fold_ln` of
    TransformerLens (https://transformerlensorg.github.io/TransformerLens/).

    **Arguments:**

    - `model`: any of `ji.models`, float32 or lower (products are taken in float32).
    - `center`: also subtract from each column of a matrix behind a LayerNorm its mean over `d`,
      which the centred input cannot see. RMSNorm does not centre its output, so nothing is
      subtracted behind it.

    **Returns:** a new model whose norms have neither weight nor bias. Where a norm had a shift, a missing bias
    is added; a tied unembedding gets its own copy, and the embedding stays. The activations at the sites
    `ln1_out`, `ln2_out` and `ln_final_out` change.

    ```python
    folded = ji.weights.fold_norms(model)
    ```

    Law: log-probabilities stay what they were, and folding twice is folding once.
    """
    last = check_layout(model, "fold_norms").ln_final
    if last is not None and (last.weight is not None or last.bias is not None or (center and last.centres)):
        model = untied(model)
    new: dict[str, Any] = {}
    for path, readers in READERS.items():
        norm = leaf(model, path)
        if norm is None:
            continue
        for weight, bias in readers:
            w = leaf(model, weight)
            if w is None:
                continue
            new[weight], new[bias] = _fold(
                w, leaf(model, bias), norm.weight, norm.bias, center and norm.centres
            )
        new[f"{path}.weight"] = None
        if norm.bias is not None:
            new[f"{path}.bias"] = None
    return put(model, new)


def _fold(
    w: Float[Array, "*layers d out"],
    bias: Float[Array, "*units"] | None,
    gain: Float[Array, "*layer d"] | None,
    shift: Float[Array, "*layer d"] | None,
    center: bool,
) -> tuple[Array, Array | None]:
    """The reader `w` with its bias, behind a norm without gain and shift."""
    full = wide(w)
    if shift is not None:
        row = jnp.swapaxes(_column(shift, w), -1, -2)
        moved = matmul(row, full).squeeze(-2)
        bias = (moved if bias is None else wide(bias) + moved).astype(w.dtype)
    if gain is not None:
        full = full * jnp.broadcast_to(_column(gain, w), w.shape)
    if center:
        full = full - full.mean(-2, keepdims=True)
    return full.astype(w.dtype), bias


def _column(vector: Float[Array, "*layer d"], w: Float[Array, "*layers d out"]) -> Array:
    """A vector per layer as a column for each of the layer's matrices: (layer, 1, ..., d, 1)."""
    ones = (1,) * (w.ndim - vector.ndim - 1)
    return wide(vector).reshape(*vector.shape[:-1], *ones, vector.shape[-1], 1)
