"""The two prompts of a patching experiment, checked, and which of them is run."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core._check import as_mask, as_tokens, check_mask, check_tokens, concrete
from ..core._intervene import config_of
from ..core._positions import columns

DIRECTIONS = ("denoise", "noise")


@dataclasses.dataclass(frozen=True)
class Pair:
    """`target` is run and patched, `source` is where the patched values come from."""

    target: Any
    source: Any
    mask: Any
    batch: tuple[int, ...]
    pos: int

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


def make_pair(model: Any, clean: Any, corrupt: Any, mask: Any, direction: str) -> Pair:
    """The pair of `direction`: "denoise" runs the corrupt prompt, "noise" the clean one."""
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        raise ValueError(
            f"direction is 'denoise' (run corrupt, restore clean) or 'noise' (run clean, put in "
            f"corrupt); got {direction!r}."
        )
    prompts = [_prompts(tokens, config_of(model)) for tokens in (clean, corrupt)]
    shapes = [_lead(tokens) for tokens in prompts]
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
    if mask is not None:
        mask = as_mask(mask)
        mask = jnp.broadcast_to(mask, (*batch, pos)) if mask.shape[-1:] == (pos,) else mask
        check_mask(mask, (*batch, pos))
    target, source = (second, first) if direction == "denoise" else (first, second)
    return Pair(target, source, mask, batch, pos)


def known_columns(pos: Any, size: int, mask: Any) -> Any:
    """Columns of positions: NumPy, also while tracing, where positions and mask are known."""
    real = None if mask is None else as_mask(mask)
    if not concrete(pos) or not (mask is None or concrete(mask)):
        return columns(jnp.asarray(pos), size, real)
    with jax.ensure_compile_time_eval():
        return np.asarray(columns(jnp.asarray(pos), size, real))


def _prompts(tokens: Any, config: Any) -> Any:
    tokens = as_tokens(tokens)
    check_tokens(tokens, config)
    return tokens


def _lead(tokens: Any) -> tuple[int, ...]:
    """The axes (*batch, pos) of tokens or embeddings."""
    return tokens.shape[:-1] if jnp.issubdtype(tokens.dtype, jnp.floating) else tokens.shape
