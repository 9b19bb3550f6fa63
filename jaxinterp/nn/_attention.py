"""Attention with its sites, for any number of key/value heads, rotary or not, cached or not."""

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from ..core._types import Context, Tap
from ._linear import accumulation_dtype, add_bias, einsum, like
from ._norm import Norm
from ._one_pass import hide, one_pass
from ._rotary import rotate

ModelT = TypeVar("ModelT")


class Attention(eqx.Module):
    r"""$\mathrm{out} = \sum_h \mathrm{softmax}(s\,Q_h K_h^\top)\,V_h W_{O,h} + b_O$.

    Query head `h` reads key/value head `h // (heads / kv_heads)`. `scale` is $s$;
    `scale_by_layer` divides it by the number of the block, counted from 1 (an option of GPT-2).
    Without `one_pass` the array of scores is always computed; see `in_one_pass`.

    ```python
    model.blocks.attn.w_q.shape                         # (layer, head, d, k)
    ```
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
    one_pass: bool = eqx.field(static=True, default=True)

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
        z = tap("z", self.mixed(self._scaled(q, ctx), k, v, ctx, tap))
        out = einsum("...phk,hkd->...pd", z, self.w_o)
        if tap.named("head_out"):
            # What an edit changed is added, so that naming the site changes no bit by itself.
            heads = einsum("...phk,hkd->...phd", z, self.w_o)
            out = out + (tap("head_out", heads) - heads).sum(-2)
        return add_bias(out, self.b_o)

    def _scaled(self, q: Float[Array, "*batch query head k"], ctx: Context) -> Array:
        # Scaling queries is cheaper than scaling scores, and leaves the softmax no product that a
        # compiler could fuse into its subtraction, which would make the rounding depend on it.
        q = q * self.scale
        return q / (jnp.asarray(ctx.layer, q.dtype) + 1) if self.scale_by_layer else q

    def mixed(
        self,
        q: Float[Array, "*batch query head k"],
        k: Float[Array, "*batch key kv_head k"],
        v: Float[Array, "*batch key kv_head k"],
        ctx: Context,
        tap: Tap,
    ) -> Float[Array, "*batch query head k"]:
        """The values that scaled queries read, mixed; `(query, key)` is held only where a site names it.

        `z` is that of the one pass whatever is named. Only a row whose pattern an edit changed is mixed
        from its edited pattern. Derivatives, where something is edited, are those of the patterns.
        """
        if not self.one_pass:
            pattern, _ = _pattern(q, k, ctx, tap)
            return _mix(pattern.astype(v.dtype), v)
        z = one_pass(q, k, v, ctx.reads)
        if not (tap.named("scores") or tap.named("pattern")):
            return z
        # Behind a barrier, so that the compiler does not share products with the one pass.
        q, k, v = lax.optimization_barrier((q, k, v))
        pattern, changed = _pattern(q, k, ctx, tap)
        if not (tap.edited("scores") or tap.edited("pattern")):
            return z
        mixed = _mix(pattern.astype(v.dtype), v)
        rows = like(jnp.moveaxis(changed, -2, -1)[..., None], z)
        return _with_derivative(jnp.where(rows, mixed, z), mixed)


def _pattern(
    q: Float[Array, "*batch query head k"], k: Float[Array, "*batch key kv_head k"], ctx: Context, tap: Tap
) -> tuple[Float[Array, "*batch head query key"], Bool[Array, "*batch head query"]]:
    """The pattern, in float32 at least, and which of its rows edits changed.

    Rows sum to 1 over the keys that a query may read. The tap is called at `scores` and `pattern`.
    """
    *batch, queries, heads, width = q.shape
    wide = accumulation_dtype(q)
    grouped = q.reshape(*batch, queries, k.shape[-2], heads // k.shape[-2], width)
    scores = einsum("...qngk,...snk->...ngqs", grouped, k, dtype=wide)
    scores = scores.reshape(*batch, heads, queries, k.shape[-3])
    edited = tap("scores", scores)
    changed = edited != scores
    if ctx.mask is not None:
        allowed = jnp.expand_dims(ctx.mask, -3)
        changed, edited = changed & like(allowed, changed), hide(edited, allowed)
    pattern = jax.nn.softmax(edited, axis=-1)
    after = tap("pattern", pattern)
    return after, (changed | (after != pattern)).any(-1)


@jax.custom_jvp
def _with_derivative(value: Float[Array, "..."], other: Float[Array, "..."]) -> Float[Array, "..."]:
    """`value`, whose derivative is that of `other`."""
    return value


@_with_derivative.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return _with_derivative(*primals), tangents[1]


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


def in_one_pass(model: ModelT, on: bool = True) -> ModelT:
    """The same model with attention in one pass, which stores no array `(query, key)`; with `on=False` it stores one.

    Models are made with one pass. The other form is for comparison: it computes the pattern first and then mixes
    the values, so that a run always costs the memory of scores and patterns.

    **Arguments:**

    - `model`: any tree that holds `Attention`, such as a model of `ji.models`.
    - `on`: whether attention runs in one pass; True by default.

    **Returns:** the tree with the form set everywhere; arrays are shared.

    ```python
    held = ji.nn.in_one_pass(model, False)
    ji.run(held, tokens)[0] - ji.run(model, tokens)[0]        # roundings
    ```

    Law: logits of both forms differ by roundings: a mix of values by at most 2e-5 of the largest value in
    float32, and 1e-10 in float64.
    """
    is_attention = lambda node: isinstance(node, Attention)
    switch = lambda node: dataclasses.replace(node, one_pass=on) if is_attention(node) else node
    return jax.tree.map(switch, model, is_leaf=is_attention)
