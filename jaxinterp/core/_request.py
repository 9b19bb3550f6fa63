"""The arguments of a run, checked and in one form.

`run`, `resume`, `generate` and `site_grads` begin here: a `Request` is everything that the engine
needs, and all that can be wrong before anything runs has raised.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._arguments import as_bool, as_selector
from ..typing import BoolLike, CaptureLike, EditsLike, IndexLike, MaskLike, ModelLike, TokensLike
from ._blocks import context, layer_count
from ._captures import At, as_requests, check_captures
from ._check import Shapes, as_padding, as_tokens, check_selector, check_tokens, token_shape
from ._edit import Edit, resolve_edits
from ._intervene import gather_edits
from ._listing import survey
from ._sites import SITES
from ._types import Context

KEPT_BYTES = 2**28
"A backward pass that would keep more than this of the sites of all blocks computes each block again."


class Request(eqx.Module):
    """A checked request, a pytree.

    - `model`: without edits of its own; `edits`: these, then those of the call, layers from 0.
    - `inputs`: token ids `(*batch, pos)`, or embeddings or a residual stream `(*batch, pos, d)`.
    - `captures`: which sites to read.
    - `mask`: True at real tokens `(*batch, pos)`, or None.
    - `logits`: whether to unembed, or the positions to unembed.
    - `remat`: whether a backward pass keeps the stream and `z` alone, and computes the rest of a block again.
    """

    model: Any
    inputs: Array
    edits: tuple[Edit, ...]
    captures: tuple[At, ...]
    mask: Array | None
    logits: bool | Array
    remat: bool = eqx.field(static=True, default=False)

    @property
    def prompts(self) -> tuple[int, ...]:
        """The shape `(*batch, pos)`."""
        return token_shape(self.inputs)

    @property
    def count(self) -> int:
        """How many blocks the model has."""
        return layer_count(self.model)

    def shapes(self) -> Shapes:
        """The sites of the model, with those that edits make, without a layer axis."""
        return survey(self.model, self.inputs, self.edits)

    def context(self) -> tuple[Int[Array, "*batch pos"], Context]:
        """Positions, and what all blocks share."""
        return context(self.model, self.prompts, self.mask)


def make_request(
    model: ModelLike,
    inputs: TokensLike,
    *,
    edits: EditsLike | None = (),
    capture: CaptureLike | None = (),
    mask: MaskLike | None = None,
    logits: bool | IndexLike = True,
    remat: BoolLike | None = None,
    start: int = 0,
    more: int = 0,
) -> Request:
    """Checks the arguments of a run. It resumes at layer `start`, and reads `more` tokens behind the prompt."""
    base, own, new = gather_edits(model, edits)
    tokens = as_tokens(inputs)
    check_tokens(tokens, base.config, more)
    prompts, count = token_shape(tokens), layer_count(base)
    real = as_padding(mask, prompts)
    shapes = survey(base, tokens, own + new)
    resolved = resolve_edits(own + new, shapes, count, real=real, start=start, of_model=len(own))
    captures = as_requests(capture)
    check_captures(captures, shapes, count, start, real=real)
    if remat is None:
        rows = [row for row in SITES.values() if row.per_layer and not row.optional]
        kept = [shapes[row.name] for row in rows if row.name in shapes]
        remat = count * sum(struct.size * struct.dtype.itemsize for struct in kept) > KEPT_BYTES
    logits = as_logit_positions(logits, prompts, real)
    return Request(base, tokens, resolved, captures, real, logits, as_bool(remat, "remat"))


def as_logit_positions(logits: bool | IndexLike, prompts: tuple[int, ...], mask: Any) -> bool | Array:
    """A bool, or checked positions of prompts of the shape `(*batch, pos)`."""
    if isinstance(logits, bool | np.bool_):
        return bool(logits)
    if logits is None or isinstance(logits, str):
        raise ValueError(
            f"logits is True, False, or positions as in ji.at; got {logits!r}. The last position alone is "
            "logits=-1, and none at all logits=False."
        )
    positions = as_selector(logits, "logits: pos")
    if positions.dtype == bool:
        raise ValueError(
            "logits takes ints: a mask keeps a number of positions that is not known before the run. "
            "Ask for all and index the result, or give ints per example (*batch, n)."
        )
    positions = jnp.asarray(positions)
    check_selector("pos", positions, prompts[-1], prompts[:-1], "logits", mask)
    return positions
