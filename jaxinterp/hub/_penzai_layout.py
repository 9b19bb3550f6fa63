"""What penzai calls our leaves and axes, and penzai's models as our configs describe them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ..core._check import logit_count
from ..mesh._leaves import leaf_paths
from ..models import GPTNeoXConfig, LlamaConfig
from ._errors import UnhandledConfig, listed

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

NEOX_ACTS = {"gelu": "gelu_exact", "gelu_new": "gelu_approx", "silu": "silu", "relu": "relu"}
LLAMA_ACTS = {"silu": "swiglu", "gelu_new": "geglu_approx"}
ALIASES = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "swish": "silu"}


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
        given = [f"{key}={getattr(config, key)!r}" for key, bad in wrong.items() if bad]
        raise UnhandledConfig(f"Penzai's {type(model).__name__} cannot express {', '.join(given)}.")
    ours = {path for path, *_ in rows(config, "", True)}
    odd = sorted(ours ^ set(leaf_paths(model)))
    if odd:
        raise UnhandledConfig(
            f"Penzai's {type(model).__name__} has other parameters than this model: "
            f"{listed(odd)}. Convert before weights are folded or untied (ji.weights)."
        )


def read_config(
    transformer: Any, values: Mapping[str, Any], ctx: int, norm_eps: float | None
) -> tuple[Any, Any, str, bool]:
    """Our config, the dtype, the prefix of labels, and whether blocks are stacked."""
    from penzai import pz
    from penzai.models.transformer import model_parts

    meta, select = transformer.metadata, pz.select(transformer)
    ends = "/embedder.embeddings"
    prefix = next((label.removesuffix(ends) for label in values if label.endswith(ends)), None)
    layers = list(getattr(transformer.body, "sublayers", ()))
    stacks = [layer for layer in layers if isinstance(layer, pz.nn.LayerStack)]
    neox = bool(select.at_instances_of(pz.nn.ApplyRoPEToSubset).get_sequence())
    rotary_type = pz.nn.ApplyRoPEToSubset if neox else pz.nn.ApplyRoPE
    rotary: Any = select.at_instances_of(rotary_type).get_sequence()
    act = select.at_instances_of(pz.nn.Elementwise).get_sequence()
    if prefix is None or not rotary or not act:
        raise UnhandledConfig(
            "from_penzai knows GPT-NeoX and Llama as penzai's builders make them; this transformer "
            "has no embedding, no rotary positions or no MLP of theirs."
        )
    heads = math.prod(meta.common_head_axes.values())
    each = math.prod(meta.query_only_head_axes.values())
    blocks = [layer for layer in layers if isinstance(layer, model_parts.TransformerBlock)]
    common: dict[str, Any] = dict(
        vocab=meta.vocab_size,
        ctx=ctx,
        d=meta.embedding_dim,
        heads=heads * each,
        kv_heads=heads,
        layers=stacks[0].stack_axis_size if stacks else len(blocks),
        k=meta.projection_dim,
        ff=meta.mlp_hidden_dim,
        rotary_base=float(rotary[0].max_wavelength),
        act=_act_name(act[0].fn),
        norm_eps=_common_eps(transformer) if norm_eps is None else norm_eps,
    )
    dtype = values[f"{prefix}{ends}"].dtype
    if neox:
        if rotary[0].rope_subset_size % 2:
            raise UnhandledConfig(
                f"Penzai turns pairs of channels, and this transformer's rope_subset_size is "
                f"{rotary[0].rope_subset_size}: it cannot run. An even one converts."
            )
        fraction = rotary[0].rope_subset_size / meta.projection_dim
        if int(meta.projection_dim * fraction) != rotary[0].rope_subset_size:
            fraction = float(np.nextafter(fraction, 1.0))
        return GPTNeoXConfig(rotary_fraction=fraction, **common), dtype, prefix, bool(stacks)
    tied = f"{prefix}/lm_head.weights" not in values
    return LlamaConfig(tied=tied, **common), dtype, prefix, bool(stacks)


def _act_name(fn: Callable[..., Any]) -> str:
    known = {"silu": jax.nn.silu, "relu": jax.nn.relu}
    known |= {
        name: functools.partial(jax.nn.gelu, approximate=name == "gelu_new") for name in ("gelu", "gelu_new")
    }
    for name, ours in known.items():
        if next(differences(fn, ours, ""), None) is None:
            return name
    raise UnhandledConfig(f"from_penzai knows the activations {', '.join(known)}; got {fn}.")


def _common_eps(transformer: Any) -> float:
    from penzai import pz

    norms = pz.select(transformer).at_instances_of((pz.nn.Standardize, pz.nn.RMSStandardize))
    given = [getattr(norm.epsilon, "data_array", norm.epsilon) for norm in norms.get_sequence()]
    # An array of a narrow type rounds 1e-6; its shortest decimal is what was meant.
    found = {float(str(e)) for eps in given for e in np.ravel(np.asarray(eps))}
    if len(found) != 1:
        raise UnhandledConfig(
            f"The norms of this penzai transformer have different epsilons: {sorted(found)}. "
            "(Penzai 0.2.5 gives the last norm of a GPT-NeoX 1e-6, whatever its config says.) Say "
            f"which one the model was trained with: from_penzai(transformer, norm_eps={max(found)})."
        )
    return found.pop()


def differences(a: Any, b: Any, where: str) -> Iterator[str]:
    """Where two penzai layers differ, in words; nothing when they compute the same."""
    if type(a) is not type(b) and {type(a), type(b)} != {int, float}:
        yield f"{where or 'model'} is a {type(a).__name__}, not a {type(b).__name__}"
    elif dataclasses.is_dataclass(a) and not isinstance(a, type):
        for field in dataclasses.fields(a):
            yield from differences(
                getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}".lstrip(".")
            )
    elif isinstance(a, functools.partial):
        yield from differences((a.func, a.args, a.keywords), (b.func, b.args, b.keywords), where)
    elif isinstance(a, list | tuple | dict) and len(a) != len(b):
        yield f"{where} has {len(a)} entries, not {len(b)}"
    elif isinstance(a, list | tuple):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, f"{where}[{i}]")
    elif isinstance(a, dict) and set(a) == set(b):
        for key in a:
            yield from differences(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, jax.Array | np.ndarray):
        if a.dtype != b.dtype or not np.array_equal(a, b):
            yield f"{where} is {a}, not {b}"
    elif isinstance(a, dict) or a != b:
        yield f"{where} is {a!r}, not {b!r}"
