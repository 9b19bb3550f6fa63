"""The forward pass of the three families in NumPy: one prompt, no padding, float64, a hook at each site.

`hook(site, layer, x) -> x` sees every site of the table in `jaxinterp/_sites.py`. Weights are the
leaves of a model as NumPy arrays; nothing else of the library is used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf, expit

Hook = Callable[[str, int | None, np.ndarray], np.ndarray]


def forward(model: Any, tokens: np.ndarray, hook: Hook) -> np.ndarray:
    """Logits `(pos, vocab)` of one prompt `(pos,)`."""
    x = hook("embed", None, model.w_embed[tokens])
    if hasattr(model, "w_pos"):
        x = x + hook("pos_embed", None, model.w_pos[: len(tokens)])
    return onward(model, x, 0, hook)


def onward(model: Any, x: np.ndarray, start: int, hook: Hook) -> np.ndarray:
    """Logits from a residual stream `(pos, d)` that enters block `start`."""
    for layer in range(start, model.config.layers):
        x = _block(model, layer, x, hook)
    return unembed(model, x, hook)


def unembed(model: Any, x: np.ndarray, hook: Hook) -> np.ndarray:
    """Logits of a residual stream `(pos, d)` behind the last block."""
    x = _norm(model.ln_final, None, x, hook, "ln_final")
    w = model.w_embed.T if model.w_unembed is None else model.w_unembed
    return hook("logits", None, x @ w)


def _block(model: Any, layer: int, x: np.ndarray, hook: Hook) -> np.ndarray:
    x = hook("resid_pre", layer, x)
    attn_out = hook("attn_out", layer, _attention(model, layer, x, hook))
    if getattr(model.config, "parallel", False):
        mlp_out = hook("mlp_out", layer, _mlp(model, layer, x, hook))
        return hook("resid_post", layer, x + attn_out + mlp_out)
    x = hook("resid_mid", layer, x + attn_out)
    return hook("resid_post", layer, x + hook("mlp_out", layer, _mlp(model, layer, x, hook)))


def _attention(model: Any, layer: int, x: np.ndarray, hook: Hook) -> np.ndarray:
    c, w, norm = model.config, model.blocks.attn, model.blocks.ln1
    normed = _norm(norm, layer, x, hook, "ln1")

    def read(site: str, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        heads = np.repeat(x[:, None], weight.shape[1], 1)
        # The edited stream of one reader passes the norm by itself.
        change = _norm(norm, layer, hook(f"{site}_in", layer, heads)) - _norm(norm, layer, heads)
        y = np.einsum("phd,hdk->phk", normed[:, None] + change, weight[layer])
        return hook(site, layer, y if bias is None else y + bias[layer])

    q, k, v = read("q", w.w_q, w.b_q), read("k", w.w_k, w.b_k), read("v", w.w_v, w.b_v)
    if not hasattr(model, "w_pos"):
        q, k = hook("q_rot", layer, rotated(q, c)), hook("k_rot", layer, rotated(k, c))
    shared = c.heads // c.kv_heads
    k, v = np.repeat(k, shared, 1), np.repeat(v, shared, 1)
    scores = hook("scores", layer, np.einsum("qhk,shk->hqs", q, k) / np.sqrt(c.k))
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    pattern = hook("pattern", layer, weights / weights.sum(-1, keepdims=True))
    z = hook("z", layer, np.einsum("hqs,shk->qhk", pattern, v))
    out = hook("head_out", layer, np.einsum("phk,hkd->phd", z, w.w_o[layer])).sum(1)
    return out if w.b_o is None else out + w.b_o[layer]


def rotated(x: np.ndarray, config: Any) -> np.ndarray:
    """`x` `(pos, head, k)` turned by its positions: the first channels in two halves."""
    dim = int(config.k * getattr(config, "rotary_fraction", 1.0))
    pairs = -(-dim // 2)
    angle = np.arange(len(x))[:, None] * config.rotary_base ** (-2 * np.arange(pairs) / dim)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    one, two, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    return np.concatenate([one * cos - two * sin, two * cos + one * sin, rest], -1)


def _mlp(model: Any, layer: int, x: np.ndarray, hook: Hook) -> np.ndarray:
    w = model.blocks.mlp
    x = _norm(model.blocks.ln2, layer, hook("mlp_in", layer, x), hook, "ln2")
    act = {"gelu": _gelu, "gelu_new": _gelu_tanh, "silu": _silu}[model.config.act]
    up = x @ w.w_in[layer] + (0 if w.b_in is None else w.b_in[layer])
    if w.w_gate is None:
        post = act(hook("mlp_pre", layer, up))
    else:
        gate = x @ w.w_gate[layer] + (0 if w.b_gate is None else w.b_gate[layer])
        post = act(hook("mlp_pre", layer, gate)) * hook("mlp_up", layer, up)
    out = hook("mlp_post", layer, post) @ w.w_out[layer]
    return out if w.b_out is None else out + w.b_out[layer]


def _norm(
    norm: Any, layer: int | None, x: np.ndarray, hook: Hook | None = None, site: str = ""
) -> np.ndarray:
    """LayerNorm, or RMSNorm where the norm has no bias."""
    own = lambda leaf: leaf if layer is None else leaf[layer]
    if norm.bias is not None:
        x = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((x**2).mean(-1, keepdims=True) + norm.eps)
    if hook is not None:
        scale = hook(f"{site}_scale", layer, scale)
    x = x / scale * own(norm.weight)
    x = x if norm.bias is None else x + own(norm.bias)
    return x if hook is None else hook(f"{site}_out", layer, x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + erf(x / np.sqrt(2)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _silu(x: np.ndarray) -> np.ndarray:
    return x * expit(x)
