"""Random tiny configs of every family, in the words of the reference, drawn from a seed.

Every option that a family has, over widths that are odd and even: heads, parts of a head that
rotary turns, groups of heads, ties, biases, activations, norms, contexts and vocabularies.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

GPT2_ACTS = (
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
ACTS = ("gelu", "gelu_new", "gelu_fast", "relu", "silu")


def draws(seed: int, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Family and fields of its config, the families in turn."""
    rng = np.random.default_rng(seed)
    families = {"gpt2": gpt2, "gpt_neox": gpt_neox, "llama": llama}
    for i in range(count):
        family = list(families)[i % len(families)]
        yield family, families[family](rng)


def gpt2(rng: np.random.Generator) -> dict[str, Any]:
    heads, width = _int(rng, 1, 4), _int(rng, 1, 13)
    return dict(
        vocab_size=_int(rng, 5, 40),
        n_positions=_int(rng, 7, 13),
        n_layer=_int(rng, 1, 2),
        n_head=heads,
        n_embd=heads * width,
        n_inner=_one(rng, None, _int(rng, 1, 30)),
        activation_function=_one(rng, *GPT2_ACTS),
        tie_word_embeddings=_flag(rng),
        scale_attn_weights=_flag(rng),
        scale_attn_by_inverse_layer_idx=_flag(rng),
        layer_norm_epsilon=_one(rng, 1e-5, 1e-3),
    )


def gpt_neox(rng: np.random.Generator) -> dict[str, Any]:
    heads, width = _int(rng, 1, 4), _int(rng, 2, 24)
    turned = [
        part
        for part in (0.1, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.7, 0.75, 0.9, 1.0)
        if int(width * part) >= 1 and -(-int(width * part) // 2) * 2 <= width
    ]
    part = _one(rng, *turned) if turned else 0.0
    return dict(
        **_sizes(rng),
        hidden_size=heads * width,
        num_attention_heads=heads,
        hidden_act=_one(rng, *ACTS),
        use_parallel_residual=_flag(rng),
        attention_bias=_flag(rng),
        tie_word_embeddings=_flag(rng),
        layer_norm_eps=_one(rng, 1e-5, 1e-3),
        rope_parameters=_rope(rng, int(width * part)) | {"partial_rotary_factor": part},
    )


def llama(rng: np.random.Generator) -> dict[str, Any]:
    groups, each, width = _int(rng, 1, 3), _int(rng, 1, 3), 2 * _int(rng, 1, 8)
    own = _flag(rng)
    return dict(
        **_sizes(rng),
        num_attention_heads=groups * each,
        num_key_value_heads=groups,
        hidden_size=groups * each * (_int(rng, 1, 5) if own else width),
        **({"head_dim": width} if own else {}),
        hidden_act=_one(rng, *ACTS),
        attention_bias=_flag(rng),
        mlp_bias=_flag(rng),
        tie_word_embeddings=_flag(rng),
        rms_norm_eps=_one(rng, 1e-6, 1e-3),
        rope_parameters=_rope(rng, width),
    )


def _sizes(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        vocab_size=_int(rng, 5, 40),
        max_position_embeddings=_int(rng, 7, 13),
        num_hidden_layers=_int(rng, 1, 2),
        intermediate_size=_int(rng, 1, 30),
    )


def _rope(rng: np.random.Generator, width: int) -> dict[str, Any]:
    """Scalings that the reference has for this width: it divides by width - 2, and pairs for yarn."""
    some = ["dynamic"] * (width != 2) + ["yarn"] * (width > 0 and width % 2 == 0)
    kind = _one(rng, "default", "default", "linear", "llama3", *some)
    more: dict[str, dict[str, Any]] = {
        "linear": dict(factor=_one(rng, 2.0, 4.0)),
        "dynamic": dict(factor=2.0),
        "llama3": dict(
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=_int(rng, 4, 16),
        ),
        "yarn": dict(
            factor=4.0, original_max_position_embeddings=_int(rng, 4, 16), beta_fast=2.0, beta_slow=0.5
        ),
    }
    return {"rope_type": kind, "rope_theta": _one(rng, 100.0, 1e4, 5e5), **more.get(kind, {})}


def _int(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _flag(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))


def _one(rng: np.random.Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]
