"""`run` and `resume`: a request is checked, then executed by the engine, compiled once."""

import dataclasses
from typing import Any, Literal, overload

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arguments import as_array, as_bool, as_int, as_int32, concrete
from .._waiting import announced
from ..typing import BoolLike, CaptureLike, EditsLike, IndexLike, MaskLike, ModelLike, ResidLike, TokensLike
from ._acts import Acts
from ._blocks import layer_count
from ._check import check_index, error_if
from ._engine import Engine
from ._intervene import split_edits
from ._request import Request, make_request


@overload
def run(  # pyright: ignore[reportOverlappingOverload]
    model: ModelLike,
    tokens: TokensLike,
    *,
    edits: EditsLike | None = ...,
    capture: CaptureLike | None = ...,
    mask: MaskLike | None = ...,
    logits: Literal[False],
    debug: BoolLike = ...,
    remat: BoolLike | None = ...,
) -> tuple[None, Acts]: ...


@overload
def run(
    model: ModelLike,
    tokens: TokensLike,
    *,
    edits: EditsLike | None = ...,
    capture: CaptureLike | None = ...,
    mask: MaskLike | None = ...,
    logits: Literal[True] | IndexLike = ...,
    debug: BoolLike = ...,
    remat: BoolLike | None = ...,
) -> tuple[Float[Array, "*batch pos vocab"], Acts]: ...


def run(
    model: ModelLike,
    tokens: TokensLike,
    *,
    edits: EditsLike | None = (),
    capture: CaptureLike | None = (),
    mask: MaskLike | None = None,
    logits: bool | IndexLike = True,
    debug: BoolLike = False,
    remat: BoolLike | None = None,
) -> tuple[Float[Array, "..."] | None, Acts]:
    r"""$(M, t, e, c) \mapsto (\text{logits}, \text{acts})$: one forward pass, edited and read.

    **Arguments:**

    - `model`: a model of `ji.load` or `ji.models`, any module of the protocol `Model`, or what
      `ji.intervene` returns.
    - `tokens`: ids `(*batch, pos)`, with or without batch axes, or embeddings `(*batch, pos, d)`.
    - `edits`: changes at sites, applied in order; see `ji.replace`.
    - `capture`: sites to read: `"z"` (all layers, stacked on a leading axis), `"z[3]"`, `"z[2:5]"`,
      `"z[-1]"`, or `ji.at(...)`, which selects and reduces.
    - `mask`: True at real tokens, for prompts padded left or right. Integer positions in edits,
      captures, metrics and `logits` then count the real tokens of each prompt.
    - `logits`: True unembeds all positions. False unembeds none, and the run stops after the last
      layer that is captured. A position, or several (as in `ji.at`), unembeds only these: -1 is the
      last real token of each prompt.
    - `debug`: also checks traced token ids and masks, while the program runs.
    - `remat`: which activations a gradient through the run keeps in memory. True keeps `z` and the residual
      stream between blocks, and the backward pass computes the rest of each block again. False keeps
      everything. None is True where the sites of all blocks take more than 256 MiB. The result of the run
      is the same.

    **Returns:** logits `(*batch, pos, vocab)`, or None; and the captures, an `Acts`.

    **Raises** `ValueError` or `IndexError` before anything runs. Inputs of the same shapes share one compiled
    program. The function works under `jit`, `vmap` and `grad`, and with sharded arrays.

    ```python
    logits, acts = ji.run(model, tokens, capture=["resid_post", "pattern[1]"])
    ```

    Laws: capturing changes nothing; replacing a site by itself changes nothing, exactly.
    """
    request = make_request(model, tokens, edits=edits, capture=capture, mask=mask, logits=logits, remat=remat)
    return _run(request, as_bool(debug, "debug"))


@announced
@eqx.filter_jit
def _run(request: Request, debug: bool) -> tuple[Array | None, Acts]:
    return execute(_checked(request) if debug else request)


def execute(request: Request) -> tuple[Array | None, Acts]:
    """The run of a checked request."""
    positions, ctx = request.context()
    engine = Engine(request)
    resid = request.model.embed(request.inputs, positions, engine.ends)
    resid = engine.run_blocks(resid, ctx, 0, engine.last_needed(request.logits))
    return engine.unembed(resid, request.logits), engine.acts()


def _checked(request: Request) -> Request:
    """The same request, which raises at run time where token ids or masks are wrong."""
    inputs, mask, vocab = request.inputs, request.mask, request.model.config.vocab
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        wrong = (inputs < 0) | (inputs >= vocab)
        inputs = error_if(inputs, wrong, f"A token id is not in 0..{vocab - 1}.")
    if mask is not None:
        mask = error_if(mask, ~mask.any(-1), "A mask leaves a prompt without a real token.")
    return dataclasses.replace(request, inputs=inputs, mask=mask)


@overload
def resume(  # pyright: ignore[reportOverlappingOverload]
    model: ModelLike,
    resid: ResidLike,
    layer: IndexLike,
    *,
    edits: EditsLike | None = ...,
    capture: CaptureLike | None = ...,
    mask: MaskLike | None = ...,
    logits: Literal[False],
) -> tuple[None, Acts]: ...


@overload
def resume(
    model: ModelLike,
    resid: ResidLike,
    layer: IndexLike,
    *,
    edits: EditsLike | None = ...,
    capture: CaptureLike | None = ...,
    mask: MaskLike | None = ...,
    logits: Literal[True] | IndexLike = ...,
) -> tuple[Float[Array, "*batch pos vocab"], Acts]: ...


def resume(
    model: ModelLike,
    resid: ResidLike,
    layer: IndexLike,
    *,
    edits: EditsLike | None = (),
    capture: CaptureLike | None = (),
    mask: MaskLike | None = None,
    logits: bool | IndexLike = True,
) -> tuple[Float[Array, "..."] | None, Acts]:
    r"""$(M, x, \ell) \mapsto \text{logits}$: runs the blocks from `layer` on, from a residual stream.

    A sweep uses it to compute the blocks before the patched layer only once.

    **Arguments:**

    - `model`, `edits`, `capture`, `mask`, `logits`: as in `ji.run`. An edit of the call that acts only before
      `layer` is an error.
    - `resid`: the `resid_pre` of block `layer`, `(*batch, pos, d)`.
    - `layer`: from 0 to the number of layers; with the number of layers only the unembedding runs. A Python int
      compiles one program per layer. A traced int runs one loop for all layers; captures of layers that did not run
      are then NaN, and reverse-mode gradients do not work. Give a Python int for these.

    **Returns:** logits and captures, as `run`.

    ```python
    _, acts = ji.run(model, tokens, capture=["resid_pre"])
    logits, _ = ji.resume(model, acts["resid_pre"][2], 2)
    ```

    Law: equal to the run that `resid` came from.
    """
    stream = as_array(resid, "resid")
    if not jnp.issubdtype(stream.dtype, jnp.floating):
        raise ValueError(
            f"resume takes a residual stream (*batch, pos, d) of floats; got dtype {stream.dtype}. "
            "For tokens use ji.run(model, tokens)."
        )
    first = _as_start(layer, layer_count(split_edits(model)[0]))
    start = first if isinstance(first, int) else 0
    request = make_request(model, stream, edits=edits, capture=capture, mask=mask, logits=logits, start=start)
    return _resume(request, first)


def _as_start(layer: Any, count: int) -> int | Array:
    """A layer from 0 to `count`: a Python int counted from 0, or one int of JAX."""
    if not isinstance(layer, jax.Array):
        layer = as_int(layer, "resume: layer")
        if not 0 <= layer <= count:
            check_index("layer", layer, count, "resume")
        return layer if layer == count else layer % count
    if layer.shape or not jnp.issubdtype(layer.dtype, jnp.integer):
        raise ValueError(f"resume: layer is one int; got the shape {layer.shape} of {layer.dtype}.")
    layer = as_int32(layer, "resume: layer")
    if concrete(layer) and not 0 <= int(layer) <= count:
        check_index("layer", int(layer), count, "resume")
    return layer


@announced
@eqx.filter_jit
def _resume(request: Request, layer: int | Array) -> tuple[Array | None, Acts]:
    if not isinstance(layer, int):
        traced = tuple(edit.traced_layers() for edit in request.edits)
        request = dataclasses.replace(request, edits=traced)
    _, ctx = request.context()
    engine = Engine(request)
    resid = request.inputs.astype(request.shapes()["resid_pre"].dtype)
    if isinstance(layer, int):
        resid = engine.run_blocks(resid, ctx, layer, engine.last_needed(request.logits))
    else:
        layer = jnp.where(layer < 0, layer + engine.count, layer)
        resid = engine.run_blocks_from(resid, ctx, layer)
    return engine.unembed(resid, request.logits), engine.acts()
