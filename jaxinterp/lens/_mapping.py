r"""Affine maps between the states of two models, or of two layers, by least squares."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arguments import as_numbers, concrete
from .._waiting import waiting
from ..core._check import as_tokens
from ..core._run import run
from ..typing import ArrayLike, FloatLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._read import token_shape


class AffineMap(eqx.Module):
    r"""$h \mapsto h W + b$. With a leading layer axis it is one map for each source layer.

    Call it with states `(*batch, d)`; it returns `(*batch, e)`. `fit_affine` and `fit_mapping` make it.

    ```python
    double = ji.lens.AffineMap(2 * jnp.eye(model.config.d), jnp.zeros(model.config.d))
    double(states[2])                                   # (pos, d)
    ```
    """

    weight: Float[Array, "*layer d e"]
    "$W$, `(d, e)` or `(layer, d, e)`."
    bias: Float[Array, "*layer e"]
    "$b$, `(e,)` or `(layer, e)`."

    def at(self, layer: IndexLike) -> "AffineMap":
        """The map of one source layer, an int that may be traced."""
        return AffineMap(self.weight[layer], self.bias[layer]) if self.weight.ndim == 3 else self

    def __call__(self, h: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
        out = jnp.einsum("...d,de->...e", h, self.weight.astype(h.dtype), precision="highest")
        return out + jnp.broadcast_to(self.bias.astype(h.dtype), out.shape)


def fit_affine(x: ArrayLike, y: ArrayLike, *, ridge: FloatLike = 0.0) -> AffineMap:
    r"""$\min_{W, b} \sum_i \|x_i W + b - y_i\|^2 + \lambda \|W\|_F^2$: the least-squares affine map.

    **Arguments:**

    - `x`: source states `(n, d)`, or `(layer, n, d)` for one map per layer.
    - `y`: target states `(n, e)` or `(layer, n, e)`; row i belongs to row i of `x`.
    - `ridge`: $\lambda$; 0 by default.

    **Returns:** an `AffineMap`. With fewer rows than `d`, or with constant directions, it is the map of
    smallest norm.

    **Raises:** ValueError for different numbers of rows, and for states that are not finite.

    ```python
    mapping = ji.lens.fit_affine(states[2], states[3])
    ```

    Law: from rows that an affine map connects it returns that map.
    """
    a, b = (jnp.asarray(as_numbers(each, name)) for each, name in ((x, "x"), (y, "y")))
    if a.ndim not in (2, 3) or a.ndim != b.ndim or a.shape[:-1] != b.shape[:-1]:
        raise ValueError(
            f"x and y are paired row by row, (n, d) and (n, e), or both with layers before; got {a.shape} and {b.shape}."
        )
    for name, each in (("x", a), ("y", b)):
        if concrete(each) and not np.isfinite(np.asarray(each, np.float64)).all():
            raise ValueError(
                f"States are finite; {name} has NaN or infinity. Were they read at padding, or did float16 overflow?"
            )
    return _fit_affine(a, b, ridge)


@eqx.filter_jit
def _fit_affine(x: Float[Array, "*layer n d"], y: Float[Array, "*layer n e"], ridge: Any) -> AffineMap:
    if x.ndim == 3:
        return jax.vmap(lambda a, b: _fit_affine(a, b, ridge))(x, y)
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


@waiting("ji.lens.fit_mapping: compiling and running")
def fit_mapping(
    source_model: ModelLike,
    target_model: ModelLike,
    tokens: TokensLike,
    *,
    site: str = "resid_post",
    mask: MaskLike | None = None,
    ridge: FloatLike = 0.0,
) -> AffineMap:
    r"""$\min_{W_\ell, b_\ell} \sum_t \|h^S_{\ell,t} W_\ell + b_\ell - h^T_{\ell,t}\|^2$: layer by layer, from paired states.

    Use it as the `mapping` of a Patchscope between two models with the same tokenizer and the same number of layers.

    **Arguments:**

    - `source_model`, `target_model`: both read the same tokens.
    - `tokens`: token ids `(*batch, pos)`.
    - `site`: the site whose states are paired; `"resid_post"` by default.
    - `mask`: True at real tokens, as in `ji.run`; only these are used. None by default.
    - `ridge`: as in `fit_affine`; 0 by default.

    **Returns:** an `AffineMap` with a leading layer axis.

    **Raises:** ValueError for different numbers of layers.

    ```python
    mapping = ji.lens.fit_mapping(small, large, tokens)
    ji.lens.patchscope(small, prompt, large, prompt, mapping=mapping)
    ```

    Law: between a model and a copy whose stream is rotated it finds the rotation.
    """
    ids = as_tokens(tokens)
    states = [
        run(model, ids, capture=[site], mask=mask, logits=False)[1][site]
        for model in (source_model, target_model)
    ]
    x, y = (state.reshape(state.shape[0], -1, state.shape[-1]) for state in states)
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"The models have {x.shape[0]} and {y.shape[0]} layers: pair their states yourself, "
            "ji.lens.fit_affine(x, y), layer by layer as you choose."
        )
    if mask is not None:
        real = np.flatnonzero(np.broadcast_to(np.asarray(mask), token_shape(ids)))
        x, y = x[:, real], y[:, real]
    return fit_affine(x, y, ridge=ridge)
