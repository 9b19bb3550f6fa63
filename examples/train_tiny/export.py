"""Our parameter tree <-> a folder in the Hugging Face GPT-NeoX layout (config.json, model.safetensors, tokenizer).

    python examples/train_tiny/export.py runs/tiny/step16000 jaxinterp/_tiny

Checkpoints store q, k and v of all heads in one matrix with rows ordered (head qkv k).
"""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import model
import numpy as np
from einops import rearrange
from safetensors.numpy import load_file, save_file

PLAIN = {  # checkpoint name of a layer's leaf -> (our leaf, einops pattern from theirs to ours)
    "input_layernorm.weight": ("ln1.weight", "d -> d"),
    "input_layernorm.bias": ("ln1.bias", "d -> d"),
    "post_attention_layernorm.weight": ("ln2.weight", "d -> d"),
    "post_attention_layernorm.bias": ("ln2.bias", "d -> d"),
    "attention.dense.weight": ("attn.w_o", "d (head k) -> head k d"),
    "attention.dense.bias": ("attn.b_o", "d -> d"),
    "mlp.dense_h_to_4h.weight": ("mlp.w_in", "ff d -> d ff"),
    "mlp.dense_h_to_4h.bias": ("mlp.b_in", "ff -> ff"),
    "mlp.dense_4h_to_h.weight": ("mlp.w_out", "d ff -> ff d"),
    "mlp.dense_4h_to_h.bias": ("mlp.b_out", "d -> d"),
}
FUSED = {
    "weight": ("w", "(head qkv k) d -> qkv head d k"),
    "bias": ("b", "(head qkv k) -> qkv head k"),
}


def inverse(pattern: str) -> str:
    return " -> ".join(reversed(pattern.split(" -> ")))


def to_checkpoint(params, config: model.Config) -> dict[str, np.ndarray]:
    out = {
        "gpt_neox.embed_in.weight": params["w_embed"],
        "gpt_neox.final_layer_norm.weight": params["ln_final"]["weight"],
        "gpt_neox.final_layer_norm.bias": params["ln_final"]["bias"],
        "embed_out.weight": params["w_unembed"].T,
    }
    for layer in range(config.layer):
        prefix = f"gpt_neox.layers.{layer}."
        for name, (leaf, pattern) in PLAIN.items():
            part, field = leaf.split(".")
            out[prefix + name] = rearrange(np.asarray(params["blocks"][part][field][layer]), inverse(pattern))
        for name, (letter, pattern) in FUSED.items():
            stacked = np.stack([np.asarray(params["blocks"]["attn"][f"{letter}_{n}"][layer]) for n in "qkv"])
            out[f"{prefix}attention.query_key_value.{name}"] = rearrange(stacked, inverse(pattern))
    return {name: np.ascontiguousarray(np.asarray(value, np.float16)) for name, value in out.items()}


def from_checkpoint(tensors: dict[str, np.ndarray], config: model.Config) -> dict:
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    blocks = {"ln1": {}, "attn": {}, "ln2": {}, "mlp": {}}
    every = lambda name: [tensors[f"gpt_neox.layers.{layer}.{name}"] for layer in range(config.layer)]
    sizes = {"head": config.head, "k": config.k}
    for name, (leaf, pattern) in PLAIN.items():
        part, field = leaf.split(".")
        known = sizes if "head" in pattern else {}
        blocks[part][field] = np.stack([rearrange(value, pattern, **known) for value in every(name)])
    for name, (letter, pattern) in FUSED.items():
        values = [
            rearrange(value, pattern, qkv=3, **sizes) for value in every(f"attention.query_key_value.{name}")
        ]
        for n, value in zip("qkv", np.stack(values, axis=1)):
            blocks["attn"][f"{letter}_{n}"] = value
    return {
        "w_embed": tensors["gpt_neox.embed_in.weight"],
        "blocks": blocks,
        "ln_final": {n: tensors[f"gpt_neox.final_layer_norm.{n}"] for n in ("weight", "bias")},
        "w_unembed": np.ascontiguousarray(tensors["embed_out.weight"].T),
    }


def to_config(config: model.Config) -> dict:
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": config.vocab,
        "hidden_size": config.d,
        "num_hidden_layers": config.layer,
        "num_attention_heads": config.head,
        "intermediate_size": config.ff,
        "hidden_act": "gelu",
        "max_position_embeddings": config.context,
        "rotary_pct": config.rotary_pct,
        "rotary_emb_base": config.rotary_base,
        "use_parallel_residual": True,
        "attention_bias": True,
        "layer_norm_eps": config.eps,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float16",
    }


def save(folder: Path, params, config: model.Config, tokenizer: Path, *, training: dict) -> None:
    """Writes the folder; weights are rounded to float16, which is what every measurement then reads.

    `training` says which batches the model saw ({"steps", "batch", "seed"}), for the n-grams of `evaluate.py`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(to_checkpoint(params, config), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(to_config(config), indent=2) + "\n")
    (folder / "training.json").write_text(json.dumps(training) + "\n")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    for path in folder.iterdir():
        path.chmod(0o644)


def load(folder) -> tuple[dict, model.Config]:
    c = json.loads((Path(folder) / "config.json").read_text())
    config = model.Config(
        vocab=c["vocab_size"],
        d=c["hidden_size"],
        layer=c["num_hidden_layers"],
        head=c["num_attention_heads"],
        ff=c["intermediate_size"],
        context=c["max_position_embeddings"],
        rotary_pct=c["rotary_pct"],
        rotary_base=c["rotary_emb_base"],
        eps=c["layer_norm_eps"],
    )
    params = from_checkpoint(load_file(Path(folder) / "model.safetensors"), config)
    return jax.tree.map(jnp.asarray, params), config


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "training.json"):
        shutil.copyfile(source / name, target / name)
