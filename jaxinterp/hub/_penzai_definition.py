"""Penzai's models of our configs, and which of our models penzai can express."""

import dataclasses
from typing import Any

from ..core._check import logit_count
from ..mesh._leaves import leaf_paths
from ..models import GPTNeoXConfig, LlamaConfig
from ._errors import UnhandledConfig, listed
from ._penzai_names import rows

NEOX_ACTS = {"gelu": "gelu_exact", "gelu_new": "gelu_approx", "silu": "silu", "relu": "relu"}
LLAMA_ACTS = {"silu": "swiglu", "gelu_new": "geglu_approx"}
ALIASES = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}


def definition(config: Any, dtype: Any, name: str, stacked: bool) -> Any:
    """Penzai's model of a config, with slots in place of parameters."""
    from penzai import pz
    from penzai.models.transformer.variants import gpt_neox, llamalike_common

    built: Any
    sizes: dict[str, Any] = dict(
        embedding_dim=config.d,
        projection_dim=config.k,
        mlp_hidden_dim=config.ff,
        num_decoder_blocks=config.layers,
        vocab_size=config.vocab,
        rope_wavelength=config.rotary_base,
        parameter_dtype=dtype,
        activation_dtype=dtype,
        use_layer_stack=stacked,
    )
    act = ALIASES.get(config.act, config.act)
    if isinstance(config, GPTNeoXConfig):
        built = gpt_neox.build_gpt_neox_transformer(
            gpt_neox.GPTNeoXTransformerConfig(
                num_attention_heads=config.heads,
                activation_fn=NEOX_ACTS[act],  # pyright: ignore[reportArgumentType]
                rope_subset_size=config.rotary_dim,
                layernorm_epsilon=config.norm_eps,
                **sizes,
            ),
            name=name,
        )
    else:
        built = llamalike_common.build_llamalike_transformer(
            llamalike_common.LlamalikeTransformerConfig(
                num_kv_heads=config.kv_heads,
                query_head_multiplier=config.heads // config.kv_heads,
                mlp_variant=LLAMA_ACTS[act],  # pyright: ignore[reportArgumentType]
                tie_embedder_and_logits=config.tied,
                rms_norm_eps=config.norm_eps,
                **sizes,
            ),
            name=name,
        )
        if config.tied:
            # Penzai's tied models are Gemma's, which scale embeddings by sqrt(d). Llama's do not.
            layers = [s for s in built.body.sublayers if not isinstance(s, pz.nn.ConstantRescale)]
            built = dataclasses.replace(built, body=pz.nn.Sequential(layers))
    return with_eps(built, config.norm_eps)


def with_eps(transformer: Any, eps: float) -> Any:
    from penzai import pz

    norms = pz.select(transformer).at_instances_of((pz.nn.Standardize, pz.nn.RMSStandardize))
    return norms.apply(lambda norm: dataclasses.replace(norm, epsilon=eps))


def check_expressible(model: Any) -> None:
    config = getattr(model, "config", None)
    if not isinstance(config, GPTNeoXConfig | LlamaConfig):
        raise UnhandledConfig(
            f"Penzai has GPT-NeoX and Llama, so to_penzai takes ji.models.GPTNeoX or Llama; got a "
            f"{type(model).__name__}."
        )
    neox = isinstance(config, GPTNeoXConfig)
    acts = NEOX_ACTS if neox else LLAMA_ACTS
    wrong = {
        "act": ALIASES.get(config.act, config.act) not in acts,
        "rope": config.rope is not None,
        "norm": not config.norm,
        "ff": config.ff == 0,
        "causal": not config.causal,
        "attention_bias": config.attention_bias != neox,
        "mlp_bias": config.mlp_bias != neox,
        "vocab_out": logit_count(config) != config.vocab,
    }
    if isinstance(config, GPTNeoXConfig):
        wrong |= {"bias": not config.bias, "norm_bias": not config.norm_bias}
        wrong |= {"parallel": not config.parallel, "tied": config.tied}
        wrong |= {"kv_heads": config.kv_heads != config.heads}
        wrong |= {"rotary_fraction": config.rotary_dim == 0 or config.rotary_dim % 2 == 1}
    if any(wrong.values()):
        fields = [f"{key}={getattr(config, key)!r}" for key, bad in wrong.items() if bad]
        raise UnhandledConfig(f"Penzai's {type(model).__name__} cannot express {', '.join(fields)}.")
    ours = {path for path, *_ in rows(config, "", True)}
    odd = sorted(ours ^ set(leaf_paths(model)))
    if odd:
        raise UnhandledConfig(
            f"Penzai's {type(model).__name__} has other parameters than this model: "
            f"{listed(odd)}. Convert before weights are folded or untied (ji.weights)."
        )
