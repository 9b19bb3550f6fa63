"""`run` and `resume`: what was asked for is checked, then executed by the engine, compiled once."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._captures import Acts, At, as_requests, check_captures
from ._check import (
    as_array,
    as_bool,
    as_int,
    as_int32,
    as_mask,
    as_selector,
    as_tokens,
    check_index,
    check_mask,
    check_selector,
    check_tokens,
    concrete,
    error_if,
)
from ._edit import Edit, resolve_edits
from ._engine import Engine
from ._survey import context, gather_edits, layer_count, survey


def run(
    model: Any,
    tokens: Int[Array, "*batch pos"] | Float[Array, "*batch pos d"] | Any,
    *,
    edits: Edit | Sequence[Any] | Any | None = (),
    capture: str | At | Sequence[Any] | Any | None = (),
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    logits: bool | Any = True,
    debug: bool | Any = False,
) -> tuple[Any, Acts]:
    r"""$(M, t, e, c) \mapsto (\text{logits}, \text{acts})$: one forward pass, edited and read.

    **Arguments:**

    - `model`: a model of `ji.load` or `ji.models`, any module of the protocol `Model`, or what
      `ji.intervene` returns.
    - `tokens`: ids `(*batch, pos)`, with or without batch axes, or embeddings `(*batch, pos, d)`.
    - `edits`: applied in order; see `ji.replace` and its siblings.
    - `capture`: sites: `"z"` (all layers, stacked on a leading axis), `"z[3]"`, `"z[2:5]"`,
      `"z[-1]"`, or `ji.at(...)` to select and reduce.
    - `mask`: True at real tokens, for prompts padded left or right. Integer positions, here and in
      edits, captures and metrics, then count the real tokens of each prompt.
    - `logits`: False computes none (the run stops after the last layer captured); a position, or
      several (as in `ji.at`), unembeds only those: -1 is each prompt's last real token.
    - `debug`: also checks token ids and masks that are traced, while running.

    **Returns:** logits `(*batch, pos, vocab)`, or None; and the captures, an `Acts`.

    Raises `ValueError` or `IndexError` before anything runs. Compiled once for all values of the
    same shapes. Works under `jit`, `vmap`, `grad` and with sharded arrays.

    ```python
    logits, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
    ```

    Laws: capturing changes nothing; replacing a site by itself changes nothing, exactly.
    """
    model, edits, captures, tokens, mask = _request(model, tokens, edits, capture, mask)
    logits = _which_logits(logits, tokens.shape[: _batch_rank(tokens) + 1], mask)
    debug = as_bool(debug, "debug")
    return _run(model, tokens, edits, captures, mask, logits, debug)


def _which_logits(logits: Any, shape: tuple[int, ...], mask: Any) -> Any:
    """A bool, or checked positions of prompts of this shape `(*batch, pos)`."""
    if isinstance(logits, bool | np.bool_):
        return bool(logits)
    if logits is None or isinstance(logits, str):
        raise ValueError(
            f"logits is True, False, or positions as in ji.at; got {logits!r}. The last position alone is "
            "logits=-1, and none at all logits=False."
        )
    logits = as_selector(logits, "logits: pos")
    if logits.dtype == bool:
        raise ValueError(
            "logits takes ints: a mask keeps a number of positions that is not known before the run. "
            "Ask for all and index the result, or give ints per example (*batch, n)."
        )
    logits = jnp.asarray(logits)
    check_selector("pos", logits, shape[-1], shape[:-1], "logits", mask)
    return logits


def _batch_rank(tokens: Any) -> int:
    return tokens.ndim - (2 if jnp.issubdtype(tokens.dtype, jnp.floating) else 1)


def _request(
    model: Any, tokens: Any, edits: Any, capture: Any, mask: Any
) -> tuple[Any, tuple[Edit, ...], tuple[At, ...], Any, Any]:
    """What a run was asked for, checked and in one form."""
    model, own, asked = gather_edits(model, edits)
    edits = own + asked
    tokens = as_tokens(tokens)
    check_tokens(tokens, model.config)
    if mask is not None:
        mask = as_mask(mask)
        rank = _batch_rank(tokens)
        check_mask(mask, tokens.shape[: rank + 1])
    shapes = survey(model, tokens, edits)
    count = layer_count(model)
    edits = resolve_edits(edits, shapes, count, real=mask)
    captures = as_requests(capture)
    check_captures(captures, shapes, count, real=mask)
    return model, edits, captures, tokens, mask


@eqx.filter_jit
def _run(
    model: Any,
    tokens: Array,
    edits: tuple[Edit, ...],
    captures: tuple[At, ...],
    mask: Array | None,
    logits: bool | Array,
    debug: bool,
) -> tuple[Any, Acts]:
    if debug:
        tokens, mask = _checked(model, tokens, mask)
    rank = _batch_rank(tokens)
    positions, ctx = context(model, tokens.shape[: rank + 1], mask)
    engine = Engine(model, edits, captures, mask, survey(model, tokens, edits))
    resid = model.embed(tokens, positions, engine.tap_at_ends())
    resid = engine.blocks(resid, ctx, 0, engine.last_needed(logits))
    out = engine.unembed(resid, logits)
    return out, engine.acts()


def _checked(model: Any, tokens: Array, mask: Array | None) -> tuple[Array, Array | None]:
    if not jnp.issubdtype(tokens.dtype, jnp.floating):
        wrong = (tokens < 0) | (tokens >= model.config.vocab)
        tokens = error_if(tokens, wrong, f"A token id is not in 0..{model.config.vocab - 1}.")
    if mask is not None:
        mask = error_if(mask, ~mask.any(-1), "A mask leaves a prompt without a real token.")
    return tokens, mask


def resume(
    model: Any,
    resid: Float[Array, "*batch pos d"] | Any,
    layer: int | Int[Array, ""] | Any,
    *,
    edits: Edit | Sequence[Any] | Any | None = (),
    capture: str | At | Sequence[Any] | Any | None = (),
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    logits: bool | Any = True,
) -> tuple[Any, Acts]:
    r"""$(M, x, \ell) \mapsto \text{logits}$: runs the blocks from `layer` on, from a residual stream.

    The suffix of a run: what a sweep recomputes once the prefix is known.

    **Arguments:** `resid` `(*batch, pos, d)`, the `resid_pre` of block `layer`; `layer` from 0 to
    the number of layers (where only the unembedding is left), a Python int, or traced, when one
    compiled loop serves every layer (forward only; for reverse-mode gradients give an int). The
    rest as in `run`; an edit that could never fire is an error. With a traced layer, captures of
    layers that did not run are NaN.

    **Returns:** logits and captures, as `run`.

    ```python
    _, acts = ji.run(model, tokens, capture=["resid_pre"])
    logits, _ = ji.resume(model, acts["resid_pre"][2], 2)
    ```

    Law: equal to the run that `resid` came from.
    """
    model, own, asked = gather_edits(model, edits)
    edits = own + asked
    resid = as_array(resid, "resid")
    if not jnp.issubdtype(resid.dtype, jnp.floating):
        raise ValueError(
            f"resume takes a residual stream (*batch, pos, d) of floats; got dtype {resid.dtype}. "
            "For tokens use ji.run(model, tokens)."
        )
    resid = jnp.asarray(resid)
    check_tokens(resid, model.config)
    if mask is not None:
        mask = as_mask(mask)
        check_mask(mask, resid.shape[:-1])
    count = layer_count(model)
    first = 0
    if not isinstance(layer, jax.Array):
        layer = as_int(layer, "resume: layer")
        if not 0 <= layer <= count:
            check_index("layer", layer, count, "resume")
            layer = layer % count
        first = layer
    elif layer.shape or not jnp.issubdtype(layer.dtype, jnp.integer):
        raise ValueError(f"resume: layer is one int; got the shape {layer.shape} of {layer.dtype}.")
    else:
        layer = as_int32(layer, "resume: layer")
        if concrete(layer) and not 0 <= int(layer) <= count:
            check_index("layer", int(layer), count, "resume")
    shapes = survey(model, resid, edits)
    edits = resolve_edits(edits, shapes, count, real=mask, start=int(first), lenient=len(own))
    captures = as_requests(capture)
    check_captures(captures, shapes, count, int(first), real=mask)
    logits = _which_logits(logits, resid.shape[:-1], mask)
    return _resume(model, resid, layer, edits, captures, mask, logits)


@eqx.filter_jit
def _resume(
    model: Any,
    resid: Array,
    layer: int | Array,
    edits: tuple[Edit, ...],
    captures: tuple[At, ...],
    mask: Array | None,
    logits: bool | Array,
) -> tuple[Any, Acts]:
    _, ctx = context(model, resid.shape[:-1], mask)
    static = isinstance(layer, int)
    if not static:
        edits = tuple(edit.traced_layers() for edit in edits)
    engine = Engine(model, edits, captures, mask, survey(model, resid, edits))
    engine.tap_at_ends()
    resid = resid.astype(model.w_embed.dtype) if hasattr(model, "w_embed") else resid
    if static:
        resid = engine.blocks(resid, ctx, layer, engine.last_needed(logits))
    else:
        layer = jnp.where(layer < 0, layer + engine.count, layer)
        resid = engine.blocks_from(resid, ctx, layer)
    return engine.unembed(resid, logits), engine.acts()
