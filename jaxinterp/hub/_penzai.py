"""Models to and from penzai's transformers: GPT-NeoX and Llama, parameter by parameter.

Penzai (Johnson 2024, https://penzai.readthedocs.io) keeps a model as a tree of small layers whose
parameters have labels and named axes. Only layouts change, so every number goes through bit by
bit. Everything of penzai is imported inside functions.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

import jax.numpy as jnp

from ..mesh._leaves import leaf_paths
from ..models import GPTNeoX, GPTNeoXConfig, Llama
from ..typing import ModelLike
from ._errors import UnhandledConfig
from ._leaves import get_leaf, set_leaves, skeleton
from ._penzai_config import read_config
from ._penzai_definition import check_expressible, definition, with_eps
from ._penzai_differences import differences
from ._penzai_names import rows, split_axes

if TYPE_CHECKING:
    from penzai.models.transformer.model_parts import TransformerLM

    PenzaiModel: TypeAlias = TransformerLM
else:
    PenzaiModel = Any


def to_penzai(model: ModelLike, *, stacked: bool = False) -> PenzaiModel:
    r"""$M \mapsto M_{\text{penzai}}$: the same parameters in penzai's `TransformerLM`.

    **Arguments:**

    - `model`: a `GPTNeoX` or a `Llama`.
    - `stacked`: keeps the blocks in one `pz.nn.LayerStack`, which compiles faster, in place of one
      after the other; False by default.

    **Returns:** a penzai model. Call it on tokens with a `"seq"` axis (and any batch axes); penzai
    0.2.5 does not run under `jax_numpy_dtype_promotion="strict"`.

    **Raises:** `UnhandledConfig` for what penzai's builders cannot express: GPT-2, other
    activations, rotary scaling, models without norms or MLP, folded norms.

    ```python
    from penzai import pz

    theirs = ji.hub.to_penzai(model)
    logits = theirs(pz.nx.wrap(tokens).tag("seq")).unwrap("seq", "vocabulary")
    ```

    Laws: `from_penzai(to_penzai(model))` has the leaves of `model`, bit for bit; both give the same
    logits.
    """
    from penzai import pz

    check_expressible(model)
    config, dtype = model.config, get_leaf(model, "w_embed").dtype
    parameters = []
    for path, label, axes, layer in rows(config, "transformer", stacked):
        leaf = get_leaf(model, path)
        leaf = jnp.asarray(leaf if layer is None else leaf[layer])
        split = split_axes(config, dict(zip(axes, leaf.shape, strict=True)))
        value = pz.nx.wrap(leaf.reshape(tuple(split.values()))).tag(*split)
        parameters.append(pz.Parameter(value=value, label=label))
    return pz.bind_variables(definition(config, dtype, "transformer", stacked), parameters)


def from_penzai(
    transformer: PenzaiModel, *, ctx: int = 2048, norm_eps: float | None = None
) -> GPTNeoX | Llama:
    r"""$M_{\text{penzai}} \mapsto M$: one of penzai's GPT-NeoX or Llama transformers as ours.

    **Arguments:**

    - `transformer`: a penzai `TransformerLM` as its builders make it, its blocks stacked or not.
    - `ctx`: the longest prompt; penzai does not record it.
    - `norm_eps`: needed when the norms of the model disagree. Penzai 0.2.5 builds GPT-NeoX with
      1e-6 in the last norm, whatever its config says; give the model's own value, 1e-5 for Pythia.

    **Returns:** a `GPTNeoX` or a `Llama`.

    **Raises:** `UnhandledConfig` when the model computes something else than the two families do
    (Gemma, sliding windows, layers that were patched in); the place that differs is named.

    ```python
    model = ji.hub.from_penzai(theirs, ctx=2048)
    logits, acts = ji.run(model, tokens, capture=["pattern"])
    ```

    Law: leaves are the parameters, bit for bit.
    """
    from penzai import pz
    from penzai.models.transformer import model_parts

    if not isinstance(transformer, model_parts.TransformerLM):
        raise ValueError(
            "from_penzai takes a penzai TransformerLM (penzai.models.transformer); got a "
            f"{type(transformer).__name__}."
        )
    kinds = (pz.Parameter, pz.ParameterValue)
    found = pz.select(transformer).at_instances_of(kinds)
    values = {str(parameter.label): parameter.value for parameter in found.get_sequence()}
    bare = found.apply(lambda parameter: pz.ParameterSlot(parameter.label))
    computes_in = jnp.dtype(transformer.metadata.activation_dtype)
    metadata = dataclasses.replace(transformer.metadata, activation_dtype=computes_in)
    bare = dataclasses.replace(bare, metadata=metadata)
    config, dtype, prefix, stacked = read_config(transformer, values, ctx, norm_eps)
    expected = definition(config, dtype, prefix, stacked)
    different = next(differences(with_eps(bare, config.norm_eps), expected, ""), None)
    if different is not None:
        raise UnhandledConfig(
            f"This penzai transformer is not what penzai's builder makes of a "
            f"{type(config).__name__.removesuffix('Config')}: {different}. Convert the model "
            "before it is patched, and make the change with edits: ji.intervene(model, edits)."
        )
    pieces: dict[str, list[Any]] = {}
    for path, label, axes, layer in rows(config, prefix, stacked):
        piece = values[label].untag(*split_axes(config, dict.fromkeys(axes, 0))).unwrap()
        pieces.setdefault(path, []).append(piece if layer is None else piece[None])
    family = GPTNeoX if isinstance(config, GPTNeoXConfig) else Llama
    model = skeleton(family, config, dtype)
    shapes = {path: leaf.shape for path, leaf in leaf_paths(model).items()}
    leaves = {path: jnp.concatenate(parts).reshape(shapes[path]) for path, parts in pieces.items()}
    return set_leaves(model, leaves)
