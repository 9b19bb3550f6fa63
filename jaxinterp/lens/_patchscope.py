r"""Patchscopes: a hidden state of one prompt, put into another prompt that makes the model say what it is.

Ghandeharioun et al. 2024 (https://arxiv.org/abs/2401.06102). Logit lens, tuned lens, future lens and
activation patching are special cases.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..core._blocks import layer_count
from ..core._captures import at
from ..core._check import (
    as_int,
    as_selector,
    as_tokens,
    check_index,
    check_selector,
    check_tokens,
    concrete,
)
from ..core._edits import replace
from ..core._generate import generate
from ..core._intervene import config_of
from ..core._run import run
from ._read import token_shape

PROMPTS = {
    "identity": "cat -> cat\n1135 -> 1135\nhello -> hello\n?",
    "describe": (
        "Syria: Country in the Middle East, Leonardo DiCaprio: American actor, "
        "Samsung: South Korean multinational major appliance and consumer electronics "
        "corporation, x"
    ),
    "capital": "The capital city of x",
    "language": "The official language of x",
    "currency": "The official currency of x",
}
"""Target prompts whose last token is the place to patch: what the state says by itself
(`"identity"`), what it is about (`"describe"`), one of its attributes (the others)."""

POSITIONS = 2**14


def target_prompt(name: str, tokenizer: Any) -> Array:
    """The tokens of a named target prompt; the place to patch is the last one, `target_pos=-1`.

    ```python
    tokens = ji.lens.target_prompt("identity", tokenizer)
    ```
    """
    if name not in PROMPTS:
        raise ValueError(f"The named prompts are {', '.join(PROMPTS)}; got {name!r}.")
    return jnp.asarray(tokenizer(PROMPTS[name]), jnp.int32)


def patchscope(
    source_model: Any,
    source_tokens: Any,
    target_model: Any,
    target_tokens: Any,
    *,
    source_layer: Any = None,
    source_pos: Any = -1,
    target_layer: Any = None,
    target_pos: Any = -1,
    mapping: Callable[[Array], Array] | None = None,
    site: str = "resid_post",
    steps: int | Any = 0,
    key: Any = None,
    source_mask: Any = None,
    target_mask: Any = None,
    source_edits: Any = (),
    target_edits: Any = (),
    pairs_at_once: int | None = None,
) -> Array:
    r"""$h = x^S_{\ell, i};\quad x^T_{\ell^*, i^*} \leftarrow f(h);\quad$ then what the target model says.

    **Arguments:**

    - `source_model`, `source_tokens` `(*batch, pos)`: where the state comes from; `target_model`,
      `target_tokens` `(*batch, pos)`, or shared `(pos,)`: where it is put.
    - `source_layer`, `target_layer`: blocks at whose output (`site`) the state is read and put;
      ints, or arrays that broadcast against each other, so that `numpy.arange(n)` for both reads
      pairs $\ell^* = \ell$, and `numpy.arange(n)[:, None]` with `numpy.arange(n)` all pairs. Both
      None: all pairs; one None: every layer of it. Values never compile again.
    - `source_pos`, `target_pos`: an int, which counts real tokens where there is a mask, or columns
      per example `(*batch,)`.
    - `mapping`: $f$, a function of states `(*batch, d)`; an `AffineMap` with a layer axis is taken
      at the source layer. None is the identity.
    - `steps`: 0 for the logits of the next token, or how many tokens to write; the state is put in
      while the prompt is read, not into tokens written later. `key`: to sample with; None takes
      the likeliest.
    - masks and edits of the two runs as in `ji.run`.
    - `pairs_at_once`: layer pairs run together; by default as many as hold 16,384 positions.

    **Returns:** logits `(*layers, *batch, vocab)` behind the last real token, or with `steps`
    tokens `(*layers, *batch, pos + steps)`. `layers` is the broadcast shape of the two.

    States are those of the stream, never behind the last norm, so no layer is special.

    ```python
    target = ji.lens.target_prompt("identity", tokenizer)
    layers = np.arange(model.config.layers)
    logits = ji.lens.patchscope(model, prompt, model, target, source_layer=layers, target_layer=layers)
    ```

    Laws: the same prompt, position and layer for source and target leaves the logits as they are;
    it equals `ji.replace` of `resid_post`.
    """
    source_tokens, target_tokens = as_tokens(source_tokens), as_tokens(target_tokens)
    check_tokens(source_tokens, config_of(source_model))
    check_tokens(target_tokens, config_of(target_model))
    steps = as_int(steps, "steps", 0)
    batch = token_shape(source_tokens)[:-1]
    if token_shape(target_tokens)[:-1] == () and batch:
        target_tokens = jnp.broadcast_to(target_tokens, (*batch, *target_tokens.shape))
        if target_mask is not None:
            target_mask = jnp.broadcast_to(jnp.asarray(target_mask), token_shape(target_tokens))
    if token_shape(target_tokens)[:-1] != batch:
        raise ValueError(
            f"Source and target prompts are paired: batches {batch} and "
            f"{token_shape(target_tokens)[:-1]} differ. One target prompt (pos,) serves all."
        )
    sources, targets, shape = _layers(
        source_layer, layer_count(source_model), target_layer, layer_count(target_model)
    )
    where = _position("source_pos", source_pos, token_shape(source_tokens))
    asked = at(site, pos=where, name="states")
    _, acts = run(
        source_model,
        source_tokens,
        edits=source_edits,
        capture=[asked],
        mask=source_mask,
        logits=False,
    )
    states = acts["states"][..., 0, :]
    where = _position("target_pos", target_pos, token_shape(target_tokens))
    # Everything that can be wrong is found before the layers are traced.
    probe = jax.eval_shape(lambda h: h if mapping is None else _at(mapping, 0)(h), states[0])
    d = config_of(target_model).d
    if probe.shape != (*batch, d):
        raise ValueError(
            f"The target model has width {d}; the states given to it have the shape {probe.shape}. "
            "A mapping takes (*batch, d) of the source to (*batch, d) of the target: fit one with "
            "ji.lens.fit_mapping(source_model, target_model, tokens)."
        )
    if pairs_at_once is None:
        pairs_at_once = max(1, POSITIONS // int(np.prod(token_shape(target_tokens))))
    out = _patchscope(
        target_model,
        target_tokens,
        states,
        sources,
        targets,
        where,
        mapping,
        site,
        (steps, key),
        target_mask,
        target_edits,
        min(pairs_at_once, len(sources)),
    )
    return out.reshape(*shape, *out.shape[1:])


def _layers(source: Any, sources: int, target: Any, targets: int) -> tuple[Array, Array, Any]:
    """Layer pairs as two flat arrays, and the shape they were given in."""
    if source is None and target is None:
        source, target = np.arange(sources)[:, None], np.arange(targets)
    elif source is None:
        source = np.arange(sources)
    elif target is None:
        target = np.arange(targets)
    pair = []
    for name, value, count in (
        ("source_layer", source, sources),
        ("target_layer", target, targets),
    ):
        value = as_selector(value, name)
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(f"{name} is an int or ints; got dtype {value.dtype}.")
        if concrete(value):
            for layer in np.asarray(value).ravel():
                check_index("layer", int(layer), count, name)
        value = jnp.asarray(value, jnp.int32)
        pair.append(jnp.where(value < 0, value + count, value))
    shape = jnp.broadcast_shapes(pair[0].shape, pair[1].shape)
    flat = [jnp.broadcast_to(value, shape).reshape(-1) for value in pair]
    return flat[0], flat[1], shape


def _position(name: str, pos: Any, shape: tuple[int, ...]) -> Array:
    """One position, shared `(1,)` or per example `(*batch, 1)`."""
    pos = as_selector(pos, name)
    if pos.shape not in ((), shape[:-1]):
        raise ValueError(f"{name} is an int, or one per example {shape[:-1]}; got the shape {pos.shape}.")
    check_selector("pos", pos[..., None], shape[-1], shape[:-1], name)
    return jnp.asarray(pos, jnp.int32)[..., None]


def _at(mapping: Any, layer: Any) -> Any:
    return mapping.at(layer) if hasattr(mapping, "at") else mapping


@eqx.filter_jit
def _patchscope(
    model: Any,
    tokens: Array,
    states: Array,
    sources: Array,
    targets: Array,
    where: Array,
    mapping: Any,
    site: str,
    options: tuple[int, Any],
    mask: Array | None,
    edits: Any,
    at_once: int,
) -> Array:
    steps, key = options
    edits = tuple(edits) if isinstance(edits, list | tuple) else (edits,)

    def one(pair: tuple[Array, Array]) -> Array:
        source, target = pair
        h = jax.lax.dynamic_index_in_dim(states, source, keepdims=False)
        h = h if mapping is None else _at(mapping, source)(h)
        patch = replace(site, h[..., None, :], layer=target, pos=where)
        if steps:
            return generate(model, tokens, steps, key=key, edits=[*edits, patch], mask=mask)
        return run(model, tokens, edits=[*edits, patch], mask=mask, logits=-1)[0]

    if at_once == len(sources):
        return jax.vmap(one)((sources, targets))
    return jax.lax.map(one, (sources, targets), batch_size=at_once)
