"""The two prompts of a patching experiment and its metric, checked, and which of the prompts is run."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import as_mask, concrete
from .._buckets import bucket_length
from ..core._blocks import layer_count
from ..core._check import Shapes, as_tokens, check_mask, check_tokens, logit_count, token_shape
from ..core._edit import Edit
from ..core._intervene import split_edits
from ..core._listing import survey
from ..core._positions import columns
from ..metrics import Metric, as_metric
from ..typing import MaskLike, MetricLike, ModelLike, TokensLike

MODES = ("denoise", "noise")


@dataclasses.dataclass(frozen=True)
class PatchingPair:
    """A model and two prompts: `target` is run and patched, `source` gives the values that are put in.

    - `model`: without edits of its own; `own`: these edits.
    - `mask`: True at real tokens `(*batch, pos)`, or None.
    - `batch`, `pos`: the axes of the prompts.
    """

    model: Any
    own: tuple[Edit, ...]
    target: Any
    source: Any
    mask: Any
    batch: tuple[int, ...]
    pos: int

    @property
    def shapes(self) -> Shapes:
        """The sites of one run."""
        return survey(self.model, self.target, self.own)

    @property
    def layers(self) -> int:
        """How many blocks the model has."""
        return layer_count(self.model)

    @property
    def same_kind(self) -> bool:
        """Whether both are tokens, or both embeddings."""
        return self.target.dtype == self.source.dtype and self.target.ndim == self.source.ndim

    def flat(self, prompts: Any) -> Any:
        """Prompts with one batch axis."""
        return prompts.reshape(-1, *prompts.shape[len(self.batch) :])

    @property
    def flat_mask(self) -> Any:
        return None if self.mask is None else self.flat(self.mask)

    def bucketed(self) -> "PatchingPair":
        """The pair with tokens behind its prompts up to the length of their bucket, so that lengths share programs.

        No token of a causal model sees what is behind it. Other pairs, prompts that are not known and those
        that lie on several devices stay as they are.
        """
        prompts = (self.target, self.source)
        single = all(
            concrete(one) and jnp.issubdtype(one.dtype, jnp.integer) and len(one.devices()) == 1
            for one in prompts
        )
        extra = bucket_length(self.pos, self.model.config.ctx) - self.pos
        known = self.mask is None or concrete(self.mask)
        if not (single and known and self.model.config.causal and extra):
            return self
        behind = [(0, 0)] * len(self.batch) + [(0, extra)]
        target, source, mask = jax.device_put(
            [None if one is None else np.pad(np.asarray(one), behind) for one in (*prompts, self.mask)]
        )
        return dataclasses.replace(self, target=target, source=source, mask=mask, pos=self.pos + extra)

    def metric(self, metric: MetricLike) -> Metric:
        """A metric for these prompts, checked."""
        checked = as_metric(metric, self.mask)
        checked.check(logit_count(self.model.config), self.batch)
        checked.check_positions((*self.batch, self.pos), self.mask)
        return checked


def make_pair(
    model: ModelLike, clean: TokensLike, corrupt: TokensLike, mask: MaskLike | None, mode: str
) -> PatchingPair:
    """The pair of a mode: "denoise" runs the corrupt prompt, "noise" the clean one."""
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(
            f"mode is 'denoise' (run corrupt, restore clean) or 'noise' (run clean, put in "
            f"corrupt); got {mode!r}."
        )
    base, own = split_edits(model)
    prompts = [as_tokens(tokens) for tokens in (clean, corrupt)]
    for tokens in prompts:
        check_tokens(tokens, base.config)
    shapes = [token_shape(tokens) for tokens in prompts]
    if shapes[0][-1] != shapes[1][-1]:
        raise ValueError(
            f"Clean and corrupt prompts have one length, so that each position has a counterpart; got "
            f"{shapes[0][-1]} and {shapes[1][-1]} tokens. Choose words of equal token length "
            "(tokenizer.tokens(text) shows them; ji.tasks makes aligned pairs)."
        )
    try:
        batch = np.broadcast_shapes(shapes[0][:-1], shapes[1][:-1])
    except ValueError:
        raise ValueError(
            f"Clean and corrupt come in pairs: the batch axes {shapes[0][:-1]} and {shapes[1][:-1]} "
            "do not match."
        ) from None
    if not all(batch):
        raise ValueError(f"There are no prompts to patch: the batch axes of the tokens are {batch}.")
    first, second = (
        jnp.broadcast_to(tokens, (*batch, *tokens.shape[len(shape) - 1 :]))
        for tokens, shape in zip(prompts, shapes, strict=True)
    )
    pos = shapes[0][-1]
    real = None if mask is None else as_mask(mask)
    if real is not None:
        real = jnp.broadcast_to(real, (*batch, pos)) if real.shape[-1:] == (pos,) else real
        check_mask(real, (*batch, pos))
    target, source = (second, first) if mode == "denoise" else (first, second)
    return PatchingPair(base, own, target, source, real, batch, pos)


def known_columns(pos: Any, size: int, mask: Any) -> Any:
    """Columns of positions: NumPy, also while tracing, where positions and mask are known."""
    real = None if mask is None else as_mask(mask)
    if not concrete(pos) or not (mask is None or concrete(mask)):
        return columns(jnp.asarray(pos), size, real)
    with jax.ensure_compile_time_eval():
        return np.asarray(columns(jnp.asarray(pos), size, real))
