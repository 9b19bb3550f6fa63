"""What penzai calls our leaves and axes."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..models import GPTNeoXConfig

ENDS = {
    "w_embed": ("embedder.embeddings", "vocabulary embedding"),
    "ln_final.weight": ("final_norm/scale.weights", "embedding"),
    "ln_final.bias": ("final_norm/shift.bias", "embedding"),
    "w_unembed": ("lm_head.weights", "embedding vocabulary"),
}
NEOX = {
    "ln1.weight": ("pre_attention_norm/scale.weights", "embedding"),
    "ln1.bias": ("pre_attention_norm/shift.bias", "embedding"),
    "attn.w_q": ("attention/query/Linear.weights", "head embedding projection"),
    "attn.b_q": ("attention/query/AddBias.bias", "head projection"),
    "attn.w_k": ("attention/key/Linear.weights", "kv_head embedding projection"),
    "attn.b_k": ("attention/key/AddBias.bias", "kv_head projection"),
    "attn.w_v": ("attention/value/Linear.weights", "kv_head embedding projection"),
    "attn.b_v": ("attention/value/AddBias.bias", "kv_head projection"),
    "attn.w_o": ("attention/output/Linear.weights", "head projection embedding"),
    "attn.b_o": ("attention/output/AddBias.bias", "embedding"),
    "ln2.weight": ("pre_ffw_norm/scale.weights", "embedding"),
    "ln2.bias": ("pre_ffw_norm/shift.bias", "embedding"),
    "mlp.w_in": ("mlp/in/Linear.weights", "embedding neurons"),
    "mlp.b_in": ("mlp/in/AddBias.bias", "neurons"),
    "mlp.w_out": ("mlp/out/Linear.weights", "neurons embedding"),
    "mlp.b_out": ("mlp/out/AddBias.bias", "embedding"),
}
LLAMA = {
    "ln1.weight": ("pre_attention_norm/scale.weights", "embedding"),
    "attn.w_q": ("attention/query.weights", "head embedding projection"),
    "attn.w_k": ("attention/key.weights", "kv_head embedding projection"),
    "attn.w_v": ("attention/value.weights", "kv_head embedding projection"),
    "attn.w_o": ("attention/output.weights", "head projection embedding"),
    "ln2.weight": ("pre_ffw_norm/scale.weights", "embedding"),
    "mlp.w_in": ("mlp/value_linear.weights", "embedding neurons"),
    "mlp.w_gate": ("mlp/gating_linear.weights", "embedding neurons"),
    "mlp.w_out": ("mlp/out_linear.weights", "neurons embedding"),
}
"""Our leaf of a block: penzai's label, and penzai's names of our axes."""


def rows(config: Any, prefix: str, stacked: bool) -> Iterator[tuple[str, str, tuple[str, ...], int | None]]:
    """Path of our leaf, label, penzai's axes and layer (None: all at once) of every parameter."""
    neox = isinstance(config, GPTNeoXConfig)
    for path, (label, axes) in ENDS.items():
        if (neox or path != "ln_final.bias") and not (config.tied and path == "w_unembed"):
            yield path, f"{prefix}/{label}", tuple(axes.split()), None
    for path, (label, axes) in (NEOX if neox else LLAMA).items():
        if stacked:
            yield f"blocks.{path}", f"{prefix}/blocks/{label}", ("blocks", *axes.split()), None
            continue
        for layer in range(config.layers):
            yield f"blocks.{path}", f"{prefix}/block_{layer}/{label}", tuple(axes.split()), layer


def split_axes(config: Any, sizes: Mapping[str, int]) -> dict[str, int]:
    """Our axes with their sizes, with `head` and `kv_head` as the axes that penzai makes of them."""
    groups, each = config.kv_heads, config.heads // config.kv_heads
    if each == 1:
        heads = {"head": {"heads": groups}, "kv_head": {"heads": groups}}
    elif groups == 1:
        heads = {"head": {"query_heads": each}, "kv_head": {}}
    else:
        shared = {"head_groups": groups}
        heads = {"head": {**shared, "query_heads": each}, "kv_head": shared}
    split: dict[str, int] = {}
    for axis, size in sizes.items():
        split |= heads.get(axis, {axis: size})
    return split
