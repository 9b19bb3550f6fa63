r"""Patchscopes: a hidden state of one prompt is written into another prompt, whose prediction describes it.

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

from .._deprecations import respelled
from .._waiting import waiting
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
from ..mesh._gather import on_mesh
from ..typing import (
    IndexLike,
    IntLike,
    KeyLike,
    LayersLike,
    MaskLike,
    ModelLike,
    TokensLike,
)
from ._patch_place import PatchPlace, PlaceLike
from ._read import token_shape

POSITIONS = 2**14


_MOVED = {
    f"{side}_{name}": f"{side}=ji.lens.PatchPlace({name}=...)"
    for side in ("source", "target")
    for name in ("layer", "pos", "mask", "edits")
}


@respelled(**_MOVED)
@waiting("ji.lens.patchscope: compiling and running")
def patchscope(
    source_model: ModelLike,
    source_tokens: TokensLike,
    target_model: ModelLike,
    target_tokens: TokensLike,
    *,
    source: PlaceLike = PatchPlace(),
    target: PlaceLike = PatchPlace(),
    mapping: Callable[[Array], Array] | None = None,
    site: str = "resid_post",
    steps: IntLike = 0,
    key: KeyLike | None = None,
    pairs_at_once: int | None = None,
) -> Array:
    r"""$h = x^S_{\ell, i};\quad x^T_{\ell^*, i^*} \leftarrow f(h);\quad$ then the prediction of the target model.

    States are those of the residual stream before the last norm, so that all layers are alike.

    **Arguments:**

    - `source_model`: the model whose state is read.
    - `source_tokens`: its prompt, token ids `(*batch, pos)`.
    - `target_model`: the model into which the state is written.
    - `target_tokens`: its prompt, token ids `(*batch, pos)`, or shared `(pos,)`.
    - `source`, `target`: layers, positions, masks and edits of the two prompts, each a
      `ji.lens.PatchPlace`; by default all layers at the last position. The two `layer` broadcast against
      each other: `numpy.arange(n)` for both gives the pairs $\ell^* = \ell$, `numpy.arange(n)[:, None]`
      and `numpy.arange(n)` give all pairs. None for both gives all pairs, None for one gives all its
      layers. Other values compile nothing again.
    - `mapping`: $f$, a function of states `(*batch, d)`; None (the default) is the identity. An
      `AffineMap` with a layer axis is used at the source layer.
    - `site`: the site that is read and written; `"resid_post"` by default.
    - `steps`: 0 (the default) for the logits of the next token, or how many tokens are generated. The
      state is written while the prompt is read, not into generated tokens.
    - `key`: a `jax.random.key` to sample with; None (the default) takes the likeliest token.
    - `pairs_at_once`: how many layer pairs run together; by default as many as have 16,384 positions.

    **Returns:** logits `(*layers, *batch, vocab)` after the last real token, or with `steps`
    tokens `(*layers, *batch, pos + steps)`. `layers` is the broadcast shape of the two `layer`.

    **Raises:** ValueError for batches that do not match and for states of another width; IndexError for
    a layer or position out of range.

    ```python
    target = ji.lens.target_prompt("identity", tokenizer)
    each = ji.lens.PatchPlace(layer=np.arange(model.config.layers))
    logits = ji.lens.patchscope(model, prompt, model, target, source=each, target=each)
    ```

    Laws: the same prompt, position and layer for source and target leaves the logits as they are;
    it equals `ji.replace` of `resid_post`.
    """
    _check_place("source", source)
    _check_place("target", target)
    source_ids, target_ids = as_tokens(source_tokens), as_tokens(target_tokens)
    check_tokens(source_ids, config_of(source_model))
    check_tokens(target_ids, config_of(target_model))
    steps = as_int(steps, "steps", 0)
    batch = token_shape(source_ids)[:-1]
    target_mask = target.mask
    if token_shape(target_ids)[:-1] == () and batch:
        target_ids = jnp.broadcast_to(target_ids, (*batch, *target_ids.shape))
        if target_mask is not None:
            target_mask = jnp.broadcast_to(jnp.asarray(target_mask), token_shape(target_ids))
    if token_shape(target_ids)[:-1] != batch:
        raise ValueError(
            f"Source and target prompts are paired: batches {batch} and "
            f"{token_shape(target_ids)[:-1]} differ. One target prompt (pos,) serves all."
        )
    sources, targets, shape = _layers(
        source.layer, layer_count(source_model), target.layer, layer_count(target_model)
    )
    read_at = _position("source: pos", source.pos, token_shape(source_ids))
    _, acts = run(
        source_model,
        source_ids,
        edits=source.edits,
        capture=[at(site, pos=read_at, name="states")],
        mask=source.mask,
        logits=False,
    )
    states = acts["states"][..., 0, :]
    write_at = _position("target: pos", target.pos, token_shape(target_ids))
    # All that can be wrong is checked before the layers are traced.
    mapped = jax.eval_shape(lambda h: h if mapping is None else _at(mapping, 0)(h), states[0])
    d = config_of(target_model).d
    if mapped.shape != (*batch, d):
        raise ValueError(
            f"The target model has width {d}; the states written into it have the shape {mapped.shape}. "
            "A mapping takes (*batch, d) of the source to (*batch, d) of the target: fit one with "
            "ji.lens.fit_mapping(source_model, target_model, tokens)."
        )
    if pairs_at_once is None:
        pairs_at_once = max(1, POSITIONS // int(np.prod(token_shape(target_ids))))
    out = _patchscope(
        target_model,
        target_ids,
        states,
        sources,
        targets,
        write_at,
        mapping,
        site,
        (steps, key),
        target_mask,
        target.edits,
        min(pairs_at_once, len(sources)),
    )
    return out.reshape(*shape, *out.shape[1:])


def _check_place(name: str, place: PlaceLike) -> None:
    if not isinstance(place, PatchPlace):
        raise ValueError(
            f"{name} is a place: {name}=ji.lens.PatchPlace(layer=2, pos=-1); got a {type(place).__name__}."
        )


def _layers(
    source: LayersLike | None, sources: int, target: LayersLike | None, targets: int
) -> tuple[Array, Array, tuple[int, ...]]:
    """Layer pairs as two flat arrays, and the broadcast shape of the two arguments."""
    if source is None and target is None:
        source, target = np.arange(sources)[:, None], np.arange(targets)
    elif source is None:
        source = np.arange(sources)
    elif target is None:
        target = np.arange(targets)
    pair = []
    for name, value, count in (
        ("source: layer", source, sources),
        ("target: layer", target, targets),
    ):
        value = as_selector(value, name)
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(f"{name} is an int or ints; got dtype {value.dtype}.")
        if concrete(value):
            for layer in np.asarray(value).ravel():
                check_index("layer", int(layer), count, name)
        value = jnp.asarray(value, jnp.int32)
        pair.append(jnp.where(value < 0, value + count, value))
    shape = np.broadcast_shapes(pair[0].shape, pair[1].shape)
    flat = [jnp.broadcast_to(value, shape).reshape(-1) for value in pair]
    return flat[0], flat[1], shape


def _position(name: str, pos: IndexLike, shape: tuple[int, ...]) -> Array:
    """One position, shared `(1,)` or per example `(*batch, 1)`."""
    column = as_selector(pos, name)
    if column.shape not in ((), shape[:-1]):
        raise ValueError(f"{name} is an int, or one per example {shape[:-1]}; got the shape {column.shape}.")
    check_selector("pos", column[..., None], shape[-1], shape[:-1], name)
    return jnp.asarray(column, jnp.int32)[..., None]


def _at(mapping: Any, layer: IndexLike) -> Callable[[Array], Array]:
    """The mapping of one source layer, where it has a layer axis."""
    return mapping.at(layer) if hasattr(mapping, "at") else mapping


@on_mesh
@eqx.filter_jit
def _patchscope(
    model: ModelLike,
    tokens: Array,
    states: Array,
    sources: Array,
    targets: Array,
    where: Array,
    mapping: Any,
    site: str,
    options: tuple[int, Any],
    mask: MaskLike | None,
    edits: Any,
    at_once: int,
) -> Array:
    """The prediction of the target for each layer pair, `at_once` pairs at a time."""
    steps, key = options
    own = tuple(edits) if isinstance(edits, list | tuple) else (edits,)

    def one(pair: tuple[Array, Array]) -> Array:
        source, target = pair
        h = jax.lax.dynamic_index_in_dim(states, source, keepdims=False)
        h = h if mapping is None else _at(mapping, source)(h)
        patch = replace(site, h[..., None, :], layer=target, pos=where)
        if steps:
            return generate(model, tokens, steps, key=key, edits=[*own, patch], mask=mask)
        return run(model, tokens, edits=[*own, patch], mask=mask, logits=-1)[0]

    if at_once == len(sources):
        return jax.vmap(one)((sources, targets))
    return jax.lax.map(one, (sources, targets), batch_size=at_once)
