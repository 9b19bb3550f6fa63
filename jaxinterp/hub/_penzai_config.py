"""Our config of one of penzai's models."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ..models import GPTNeoXConfig, LlamaConfig
from ._errors import UnhandledConfig
from ._penzai_differences import differences


class Read(NamedTuple):
    """Our config, the dtype, the prefix of penzai's labels, and whether its blocks are stacked."""

    config: GPTNeoXConfig | LlamaConfig
    dtype: Any
    prefix: str
    stacked: bool


def read_config(transformer: Any, values: Mapping[str, Any], ctx: int, norm_eps: float | None) -> Read:
    """What penzai's model says of its sizes. Raises `UnhandledConfig` for another family."""
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
        return Read(GPTNeoXConfig(rotary_fraction=fraction, **common), dtype, prefix, bool(stacks))
    tied = f"{prefix}/lm_head.weights" not in values
    return Read(LlamaConfig(tied=tied, **common), dtype, prefix, bool(stacks))


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
    epsilons = [getattr(norm.epsilon, "data_array", norm.epsilon) for norm in norms.get_sequence()]
    # An array of a narrow type rounds 1e-6; its shortest decimal is what was meant.
    found = {float(str(e)) for eps in epsilons for e in np.ravel(np.asarray(eps))}
    if len(found) != 1:
        raise UnhandledConfig(
            f"The norms of this penzai transformer have different epsilons: {sorted(found)}. "
            "(Penzai 0.2.5 gives the last norm of a GPT-NeoX 1e-6, whatever its config says.) Say "
            f"which one the model was trained with: from_penzai(transformer, norm_eps={max(found)})."
        )
    return found.pop()
