r"""Affine maps between the states of two models, or of two layers, by least squares."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._check import as_tokens
from ..core._run import run
from ._read import token_shape


class AffineMap(eqx.Module):
    r"""$h \mapsto h W + b$; with a leading layer axis, one map for each source layer.

    `weight` `(d, e)` and `bias` `(e,)`, or `(layer, d, e)` and `(layer, e)`.
    """

    weight: Float[Array, "*layer d e"]
    bias: Float[Array, "*layer e"]

    def at(self, layer: Any) -> "AffineMap":
        """The map of one source layer."""
        return AffineMap(self.weight[layer], self.bias[layer]) if self.weight.ndim == 3 else self

    def __call__(self, h: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        out = jnp.einsum("...d,de->...e", h, self.weight.astype(h.dtype), precision="highest")
        return out + jnp.broadcast_to(self.bias.astype(h.dtype), out.shape)


@eqx.filter_jit
def fit_affine(
    x: Float[Array, "*layer n d"], y: Float[Array, "*layer n e"], *, ridge: float | Any = 0.0
) -> AffineMap:
    r"""$\min_{W, b} \sum_i \|x_i W + b - y_i\|^2 + \lambda \|W\|_F^2$: the least-squares affine map.

    **Arguments:** `x` `(n, d)` and `y` `(n, e)` row by row, or both with a leading layer axis: a
    map for each; `ridge`, $\lambda$.

    **Returns:** an `AffineMap`. With fewer rows than `d`, or directions that never vary, it is the
    one of smallest norm.

    ```python
    mapping = ji.lens.fit_affine(states[2], states[3])
    ```

    Law: rows that lie on an affine map give it back.
    """
    if x.ndim == 3:
        return jax.vmap(lambda a, b: fit_affine(a, b, ridge=ridge))(x, y)
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"x and y are paired row by row; got {x.shape} and {y.shape}.")
    wide = np.promote_types(x.dtype, np.float32)
    x, y = x.astype(wide), y.astype(wide)
    middle, target = x.mean(0, keepdims=True), y.mean(0, keepdims=True)
    u, s, vt = jnp.linalg.svd(x - middle, full_matrices=False)
    smallest = s.max() * max(x.shape) * jnp.finfo(wide).eps
    shrunk = jnp.where(s > smallest, s / (jnp.square(s) + ridge), 0)
    product = jnp.einsum("nr,ne->re", u, y - target, precision="highest")
    weight = jnp.einsum("rd,r,re->de", vt, shrunk, product, precision="highest")
    bias = target - jnp.matmul(middle, weight, precision="highest")
    return AffineMap(weight, bias[0])


def fit_mapping(
    source_model: Any,
    target_model: Any,
    tokens: Any,
    *,
    site: str = "resid_post",
    mask: Any = None,
    ridge: float | Any = 0.0,
) -> AffineMap:
    r"""$\min_{W_\ell, b_\ell} \sum_t \|h^S_{\ell,t} W_\ell + b_\ell - h^T_{\ell,t}\|^2$: layer by layer, from paired states.

    For Patchscopes between models of one tokenizer and one number of layers.

    **Arguments:** the two models; `tokens` `(*batch, pos)`, read by both; `mask`, True at the
    tokens to use; `ridge` as in `fit_affine`.

    **Returns:** an `AffineMap` with a leading layer axis.

    ```python
    mapping = ji.lens.fit_mapping(small, large, tokens)
    ji.lens.patchscope(small, prompt, large, prompt, source_pos=-1, target_pos=-1, mapping=mapping)
    ```

    Law: between a model and its copy with the stream rotated, it finds the rotation.
    """
    tokens = as_tokens(tokens)
    states = [
        run(model, tokens, capture=[site], mask=mask, logits=False)[1][site]
        for model in (source_model, target_model)
    ]
    x, y = (state.reshape(state.shape[0], -1, state.shape[-1]) for state in states)
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"The models have {x.shape[0]} and {y.shape[0]} layers: pair their states yourself, "
            "ji.lens.fit_affine(x, y), layer by layer as you choose."
        )
    if mask is not None:
        kept = np.flatnonzero(np.broadcast_to(np.asarray(mask), token_shape(tokens)))
        x, y = x[:, kept], y[:, kept]
    return fit_affine(x, y, ridge=ridge)
