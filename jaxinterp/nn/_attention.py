"""Attention with its sites, for any number of key/value heads, rotary or not, cached or not."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ..core._types import Context, Tap
from ._linear import accumulation_dtype, add_bias, einsum, like
from ._norm import Norm
from ._rotary import rotate


class Attention(eqx.Module):
    r"""$\mathrm{out} = \sum_h \mathrm{softmax}(s\,Q_h K_h^\top)\,V_h W_{O,h} + b_O$.

    Query head `h` reads key/value head `h // (heads / kv_heads)`. `scale` is $s$;
    `scale_by_layer` divides it by the block's number, counted from 1 (an option of GPT-2).
    """

    w_q: Float[Array, "*layer head d k"]
    w_k: Float[Array, "*layer kv_head d k"]
    w_v: Float[Array, "*layer kv_head d k"]
    w_o: Float[Array, "*layer head k d"]
    b_q: Float[Array, "*layer head k"] | None
    b_k: Float[Array, "*layer kv_head k"] | None
    b_v: Float[Array, "*layer kv_head k"] | None
    b_o: Float[Array, "*layer d"] | None
    scale: float = eqx.field(static=True)
    scale_by_layer: bool = eqx.field(static=True, default=False)

    @staticmethod
    def init(
        layers: int,
        d: int,
        heads: int,
        kv_heads: int,
        k: int,
        *,
        key: jax.Array,
        dtype: DTypeLike,
        bias: bool = True,
        scale: float | None = None,
        scale_by_layer: bool = False,
    ) -> "Attention":
        """Normal weights of deviation 0.02, smaller by $\\sqrt{2L}$ where the block writes.

        **Arguments:**

        - `layers`, `d`, `heads`, `kv_heads`, `k`: numbers of layers, of channels of the stream, of heads,
          of key and value heads, and of channels of a head.
        - `key`: a `jax.random.key`.
        - `dtype`: of the weights.
        - `bias`: whether there are biases, which begin at 0; True by default.
        - `scale`: factor of the scores; $k^{-1/2}$ by default.
        - `scale_by_layer`: whether scores are also divided by the number of the layer plus 1; False by
          default.
        """
        keys = jax.random.split(key, 4)

        def normal(key: jax.Array, *shape: int, std: float = 0.02) -> Array:
            return (std * jax.random.normal(key, (layers, *shape), jnp.float32)).astype(dtype)

        def zeros(*shape: int) -> Array | None:
            return jnp.zeros((layers, *shape), dtype) if bias else None

        return Attention(
            w_q=normal(keys[0], heads, d, k),
            w_k=normal(keys[1], kv_heads, d, k),
            w_v=normal(keys[2], kv_heads, d, k),
            w_o=normal(keys[3], heads, k, d, std=0.02 / (2 * layers) ** 0.5),
            b_q=zeros(heads, k),
            b_k=zeros(kv_heads, k),
            b_v=zeros(kv_heads, k),
            b_o=zeros(d),
            scale=k**-0.5 if scale is None else scale,
            scale_by_layer=scale_by_layer,
        )

    def __call__(
        self, resid: Float[Array, "*batch pos d"], norm: Norm | None, ctx: Context, tap: Tap
    ) -> Float[Array, "*batch pos d"]:
        x = resid if norm is None else norm(resid, tap, "ln1")
        q = tap("q", add_bias(_read("q_in", resid, x, self.w_q, norm, tap), self.b_q))
        k = tap("k", add_bias(_read("k_in", resid, x, self.w_k, norm, tap), self.b_k))
        v = tap("v", add_bias(_read("v_in", resid, x, self.w_v, norm, tap), self.b_v))
        if ctx.tables is not None:
            q = tap("q_rot", rotate(q, ctx.tables))
            k = tap("k_rot", rotate(k, ctx.tables))
        k, v = tap.past(k, v)
        pattern = self.attend(q, k, ctx, tap).astype(v.dtype)
        z = tap("z", _mix(pattern, v))
        out = einsum("...phk,hkd->...pd", z, self.w_o)
        if tap.named("head_out"):
            # What an edit changed is added, so that naming the site changes no bit by itself.
            heads = einsum("...phk,hkd->...phd", z, self.w_o)
            out = out + (tap("head_out", heads) - heads).sum(-2)
        return add_bias(out, self.b_o)

    def attend(
        self,
        q: Float[Array, "*batch query head k"],
        k: Float[Array, "*batch key kv_head k"],
        ctx: Context,
        tap: Tap,
    ) -> Float[Array, "*batch head query key"]:
        """The pattern, in float32 at least: rows sum to 1 over the keys that `ctx.mask` allows.

        **Arguments:**

        - `q`, `k`: queries and keys.
        - `ctx`: the mask and the number of the layer.
        - `tap`: called at the sites `scores` and `pattern`.
        """
        wide = accumulation_dtype(q)
        *batch, query, heads, width = q.shape
        # Scaling queries is cheaper than scaling scores, and leaves the softmax no product that a
        # compiler could fuse into its subtraction, which would make the rounding depend on it.
        grouped = (q * self.scale).reshape(*batch, query, k.shape[-2], heads // k.shape[-2], width)
        scores = einsum("...qngk,...snk->...ngqs", grouped, k).astype(wide)
        scores = scores.reshape(*batch, heads, query, k.shape[-3])
        if self.scale_by_layer:
            scores = scores / (jnp.asarray(ctx.layer, wide) + 1)
        scores = tap("scores", scores)
        if ctx.mask is not None:
            allowed = like(jnp.expand_dims(ctx.mask, -3), scores)
            # Finite, so that a row which may read nothing (padding) stays finite too.
            scores = jnp.where(allowed, scores, jnp.finfo(wide).min)
        return tap("pattern", jax.nn.softmax(scores, axis=-1))


def _read(
    site: str,
    resid: Float[Array, "*batch pos d"],
    x: Float[Array, "*batch pos d"],
    w: Float[Array, "head d k"],
    norm: Norm | None,
    tap: Tap,
) -> Float[Array, "*batch pos head k"]:
    """`x @ w` per head; an edit of the unnormalised input `site` reaches this reader alone."""
    y = einsum("...pd,hdk->...phk", x, w)
    if tap.named(site):
        *batch, pos, d = resid.shape
        heads = jnp.broadcast_to(resid[..., None, :], (*batch, pos, w.shape[0], d))
        edited = tap(site, heads)
        if tap.edited(site):
            read = (lambda t: t) if norm is None else norm
            change = read(edited) - read(heads)
            # Rounding alone can make this differ from zero; where nothing was edited it is zero,
            # while its gradient stays.
            same = (edited == heads).all(-1, keepdims=True)
            change = change - lax.stop_gradient(jnp.where(like(same, change), change, 0))
            y = y + einsum("...phd,hdk->...phk", change, w)
    return y


def _mix(
    pattern: Float[Array, "*batch head query key"], v: Float[Array, "*batch key kv_head k"]
) -> Float[Array, "*batch query head k"]:
    *batch, heads, query, key = pattern.shape
    kv_heads, width = v.shape[-2:]
    grouped = pattern.reshape(*batch, kv_heads, heads // kv_heads, query, key)
    return einsum("...ngqs,...snk->...qngk", grouped, v).reshape(*batch, query, heads, width)
