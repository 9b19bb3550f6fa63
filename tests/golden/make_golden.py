"""Writes what the reference implementation computes on small random models: the golden files.

The one script that needs torch and transformers; the tests read its files and need neither.

    python tests/golden/make_golden.py            # writes gpt2.npz, gpt_neox.npz, llama.npz here

Every tensor is drawn from a seed of its name and shape, so cases that share a shape share it in
the file. The reference casts to float32 in places (softmax, RMSNorm, rotary tables), also in a
float64 model; for the float64 numbers those casts are widened, so that it is float64 throughout.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
SEQ = 7

MODELS: dict[str, Any] = {
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "gpt_neox": (transformers.GPTNeoXConfig, transformers.GPTNeoXForCausalLM),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
}
BLOCKS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "llama": "model.layers"}
NORMS = {
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "llama": "model.norm",
}

GPT2: dict[str, Any] = dict(vocab_size=37, n_positions=11, n_embd=16, n_layer=2, n_head=4)
NEOX: dict[str, Any] = dict(
    vocab_size=37,
    max_position_embeddings=11,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
)
LLAMA: dict[str, Any] = dict(
    vocab_size=37,
    max_position_embeddings=11,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
)
ACTIVATIONS = (
    "gelu",
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu_fast",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "leaky_relu",
    "silu",
    "swish",
    "mish",
    "sigmoid",
    "tanh",
    "linear",
)
ROPE: dict[str, dict[str, Any]] = {
    "linear": dict(rope_type="linear", factor=4.0),
    "dynamic": dict(rope_type="dynamic", factor=2.0),
    "llama3": dict(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=16,
    ),
    "yarn": dict(
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=8,
        beta_fast=2.0,
        beta_slow=0.5,
    ),
    "yarn-attention": dict(
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=8,
        beta_fast=1.5,
        beta_slow=0.25,
        attention_factor=1.3,
        truncate=False,
    ),
}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10000.0, **ROPE[kind], **more}}


def cases() -> dict[str, dict[str, dict[str, Any]]]:
    """Family, name of the case, config: every option that a family's config allows."""
    gpt2 = {
        "plain": {},
        "inner": dict(n_inner=21),
        "unscaled": dict(scale_attn_weights=False),
        "by-layer": dict(scale_attn_by_inverse_layer_idx=True),
        "by-layer-unscaled": dict(scale_attn_by_inverse_layer_idx=True, scale_attn_weights=False),
        "upcast": dict(reorder_and_upcast_attn=True),
        "upcast-by-layer": dict(reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True),
        "untied": dict(tie_word_embeddings=False),
        "eps": dict(layer_norm_epsilon=1e-2),
        "odd": dict(n_embd=15, n_head=3, n_layer=3, n_inner=19, vocab_size=23, n_positions=9),
        "one-head-one-layer": dict(n_head=1, n_layer=1),
        **{f"act-{act}": dict(activation_function=act) for act in ACTIVATIONS},
    }
    neox = {
        "plain": {},
        "sequential": dict(use_parallel_residual=False),
        "rotary-0.5": dict(
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
        ),
        "rotary-1": dict(
            rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}
        ),
        "no-attention-bias": dict(attention_bias=False),
        "tied": dict(tie_word_embeddings=True),
        "eps": dict(layer_norm_eps=1e-2),
        "odd": dict(
            hidden_size=30,
            num_attention_heads=3,
            num_hidden_layers=3,
            intermediate_size=19,
            vocab_size=23,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4},
        ),
        # Heads of 12 and of 4 channels, a quarter turned: rotary of widths 3 and 1.
        "rotary-width-3": dict(hidden_size=24),
        "rotary-width-1": dict(num_attention_heads=4),
        "rotary-width-3-llama3": dict(hidden_size=24, **rope("llama3", partial_rotary_factor=0.25)),
        **{f"act-{act}": dict(hidden_act=act) for act in ("gelu_new", "gelu_fast", "relu", "silu")},
        **{f"rope-{kind}": rope(kind, partial_rotary_factor=0.5) for kind in ROPE},
        "sequential-rope": dict(use_parallel_residual=False, **rope("linear", partial_rotary_factor=1.0)),
    }
    llama = {
        "plain": {},
        "grouped": dict(num_key_value_heads=2),
        "one-kv-head": dict(num_key_value_heads=1),
        "head-dim": dict(head_dim=6, num_key_value_heads=2),
        "attention-bias": dict(attention_bias=True, num_key_value_heads=2),
        "mlp-bias": dict(mlp_bias=True),
        "tied": dict(tie_word_embeddings=True),
        "eps": dict(rms_norm_eps=1e-2),
        "theta": dict(rope_parameters={"rope_type": "default", "rope_theta": 50.0}),
        "everything": dict(
            head_dim=10,
            num_key_value_heads=2,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            num_hidden_layers=3,
            **rope("llama3"),
        ),
        **{f"act-{act}": dict(hidden_act=act) for act in ("gelu", "gelu_pytorch_tanh", "relu")},
        **{f"rope-{kind}": dict(head_dim=8, **rope(kind)) for kind in ROPE},
    }
    return {
        "gpt2": {name: GPT2 | more for name, more in gpt2.items()},
        "gpt_neox": {name: NEOX | more for name, more in neox.items()},
        "llama": {name: LLAMA | more for name, more in llama.items()},
    }


@contextlib.contextmanager
def widened() -> Iterator[None]:
    """Casts to float32 become casts to float64, and new tensors are float64."""
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept
        torch.set_default_dtype(torch.float32)


def draw(name: str, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """A tensor from the seed of its name and shape, of a size at which every option matters."""
    rng = np.random.default_rng(zlib.crc32(f"{name}:{shape}".encode()))
    normal = rng.standard_normal(shape)
    if len(shape) == 2:
        normal *= shape[-1] ** -0.5 if "embed" not in name and "wpe" not in name else 1.0
    else:
        normal = 0.2 * normal + ("norm.weight" in name or ("ln_" in name and "weight" in name))
    return (scale * normal).astype(np.float32)


def build(family: str, fields: dict[str, Any], *, dtype: torch.dtype) -> Any:
    config_class, model_class = MODELS[family]
    config = config_class(**fields, attn_implementation="eager")
    return model_class(config).to(dtype).eval()


# Names in files where they differ from those in memory.
RENAMED = {"gpt_neox": {"lm_head.weight": "embed_out.weight"}}


def file_name(model: Any, name: str) -> str:
    return RENAMED.get(model.config.model_type, {}).get(name, name)


def random_state(model: Any) -> dict[str, np.ndarray]:
    """A checkpoint of a model, drawn anew; a tied unembedding is the embedding."""
    named = {file_name(model, name): tuple(x.shape) for name, x in model.state_dict().items()}
    state = {name: draw(name, shape) for name, shape in named.items()}
    if model.config.tie_word_embeddings:
        unembed = next(n for n in state if n in ("lm_head.weight", "embed_out.weight"))
        embed = next(n for n in state if n.endswith(("wte.weight", "embed_in.weight", "embed_tokens.weight")))
        state[unembed] = state[embed]
    return state


def reference(
    model: Any,
    state: Mapping[str, np.ndarray] | None,
    tokens: np.ndarray,
    mask: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Logits, the residual stream before the first block and after each, and the last norm."""
    family = model.config.model_type
    if state is not None:
        dtype = next(model.parameters()).dtype
        names = {name: file_name(model, name) for name in model.state_dict()}
        model.load_state_dict({n: torch.from_numpy(state[f]).to(dtype) for n, f in names.items()})
    seen: dict[str, Any] = {"resid": []}
    blocks = list(model.get_submodule(BLOCKS[family]))

    def first(x: Any) -> Any:
        return x[0] if isinstance(x, tuple) else x

    handles = [
        blocks[0].register_forward_hook(
            lambda _, inputs, output: seen["resid"].extend([first(inputs), first(output)])
        ),
        *(
            block.register_forward_hook(lambda _, i, output: seen["resid"].append(first(output)))
            for block in blocks[1:]
        ),
        model.get_submodule(NORMS[family]).register_forward_hook(
            lambda _, i, output: seen.update(ln_final_out=output)
        ),
    ]
    extra: dict[str, Any] = {}
    if mask is not None:
        extra["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        extra["position_ids"] = torch.from_numpy(np.maximum(mask.cumsum(-1) - 1, 0))
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens.astype(np.int64)), use_cache=False, **extra).logits
    for handle in handles:
        handle.remove()
    return {
        "logits": logits.numpy(),
        "resid": torch.stack(seen["resid"]).numpy(),
        "ln_final_out": seen["ln_final_out"].numpy(),
    }


def inputs(vocab: int, seq: int = SEQ) -> tuple[np.ndarray, np.ndarray]:
    """Three prompts, and a mask: whole, padded left, padded right."""
    tokens = np.random.default_rng(vocab).integers(0, vocab, (3, seq)).astype(np.int32)
    mask = np.ones((3, seq), bool)
    mask[1, :3] = False
    mask[2, seq - 2 :] = False
    return tokens, mask


def main() -> None:
    for family, family_cases in cases().items():
        arrays: dict[str, np.ndarray] = {}
        index: dict[str, Any] = {}
        for name, fields in family_cases.items():
            tokens, mask = inputs(fields["vocab_size"])
            narrow = build(family, fields, dtype=torch.float32)
            state = random_state(narrow)
            keys: dict[int, str] = {}  # a tied tensor is stored once, by its first name
            for tensor, x in state.items():
                arrays[keys.setdefault(id(x), f"weights/{tensor}/{x.shape}")] = x
            out = {f"float32/{k}": v for k, v in reference(narrow, state, tokens).items()}
            with widened():
                wide = build(family, fields, dtype=torch.float64)
                out |= {f"float64/{k}": v for k, v in reference(wide, state, tokens).items()}
                padded = reference(wide, state, tokens, mask)
            out |= {f"padded/{k}": padded[k] for k in ("logits", "resid")}
            for key, value in out.items():
                assert value.dtype == (np.float32 if key.startswith("float32") else np.float64)
                arrays[f"{name}/{key}"] = value
            spread = max(abs(out[f"float64/{k}"] - out[f"float32/{k}"]).max() for k in padded)
            assert spread < 2e-5, (family, name, spread)
            index[name] = {
                "config": narrow.config.to_dict(),
                "tensors": {tensor: keys[id(x)] for tensor, x in state.items()},
            }
            arrays[f"{name}/tokens"], arrays[f"{name}/mask"] = tokens, mask
            print(f"{family:9} {name:22} float32 - float64: {spread:.1e}")
        text = json.dumps(index, default=str, sort_keys=True)
        arrays["index"] = np.frombuffer(text.encode(), np.uint8)
        np.savez_compressed(HERE / f"{family}.npz", **arrays)
        print(f"{family}.npz: {(HERE / f'{family}.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
