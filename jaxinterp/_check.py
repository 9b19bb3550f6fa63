"""Bad input, caught before anything runs: JAX would clamp it silently or fail far from the cause.

Values are checked when they are concrete; under `jit` and `vmap` only shapes can be.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._positions import counts_tokens

Shapes = dict[str, jax.ShapeDtypeStruct]
"""The sites of a model with their shapes, without a layer axis."""


def concrete(value: Any) -> bool:
    """Whether a value can be looked at: not while it is traced."""
    return not isinstance(value, Tracer)


def check_tokens(tokens: Any, config: Any, extra: int = 0) -> None:
    """Tokens `(*batch, pos)` of ints, or embeddings `(*batch, pos, d)`."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    if not soft and not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"Tokens are ints (*batch, pos), or embeddings (*batch, pos, d) of floats; got dtype "
            f"{tokens.dtype}. Tokenize text first: ji.run(model, tokenizer('some text'))."
        )
    axes = "(*batch, pos, d)" if soft else "(*batch, pos)"
    if tokens.ndim < 1 + soft:
        raise ValueError(f"Tokens have the axes {axes}; got the shape {tokens.shape}.")
    if soft and tokens.shape[-1] != config.d:
        raise ValueError(
            f"Floats in place of tokens are embeddings {axes} with d={config.d}; got the shape "
            f"{tokens.shape}. Token ids are ints: tokens.astype(jnp.int32)."
        )
    pos = tokens.shape[-2] if soft else tokens.shape[-1]
    if pos == 0:
        raise ValueError(
            f"A prompt needs at least one token; got the shape {tokens.shape}. "
            "For an empty text start with the BOS token: tokenizer('', bos=True)."
        )
    if pos + extra > config.ctx:
        more = f" and {extra} more to read" if extra else ""
        raise ValueError(
            f"This model reads at most {config.ctx} positions (config.ctx); the prompt has "
            f"{pos}{more}. Cut it: tokens[..., -{config.ctx - extra}:]."
            if extra < config.ctx
            else f"This model reads at most {config.ctx} positions; {extra + 1} more cannot be generated."
        )
    if not soft and concrete(tokens) and tokens.size:
        low, high = int(np.min(np.asarray(tokens))), int(np.max(np.asarray(tokens)))
        if low < 0 or high >= config.vocab:
            raise IndexError(
                f"Token ids lie in 0..{config.vocab - 1} (config.vocab={config.vocab}); got "
                f"{low if low < 0 else high}. Are they from this model's tokenizer?"
            )


def check_mask(mask: Any, shape: tuple[int, ...]) -> None:
    """A padding mask: bools of the tokens' shape, at least one True in a row."""
    if mask.shape != shape:
        raise ValueError(
            f"A mask has the shape of the tokens {shape}, True at real tokens; got {mask.shape}. "
            "tokenizer([...]) returns both: tokens, mask = tokenizer(texts)."
        )
    if mask.dtype != bool:
        raise ValueError(
            f"A mask is of bools, True at real tokens; got dtype {mask.dtype}. "
            "Convert it: mask.astype(bool)."
        )
    if concrete(mask) and not np.asarray(mask).any(-1).all():
        raise ValueError("A mask must leave every prompt at least one real token; one has none.")


def check_index(name: str, index: int, size: int, what: str) -> None:
    """A Python index of an axis, negative ones counted from the end."""
    if not -size <= index < size:
        raise IndexError(
            f"{what}: {name} {index} is out of range; this model has {name}s 0..{size - 1} "
            f"(or -{size}..-1, from the last)."
            if name in ("layer", "head")
            else f"{what}: {name} {index} is out of range 0..{size - 1} (or -{size}..-1)."
        )


def check_selector(
    name: str, value: Any, size: int, batch: tuple[int, ...], what: str, real: Any = None
) -> None:
    """A selector of an axis: ints in range, or a mask as long as the axis.

    `real` is the padding mask, for selectors of positions: shared ints then count real tokens.
    """
    per_example = (*batch,)
    if value.dtype == bool:
        if value.shape not in ((size,), (*per_example, size)):
            also = f" or {(*per_example, size)}" if per_example else ""
            raise ValueError(
                f"{what}: a mask for {name} has the shape {(size,)}{also}; got {value.shape}."
            )
        return
    if value.ndim > 1 and value.shape[:-1] != per_example:
        raise ValueError(
            f"{what}: {name} is an int, ints (n,), or ints per example {(*per_example, 'n')}; "
            f"got the shape {value.shape}."
        )
    if concrete(value) and value.size:
        indices = (int(np.min(np.asarray(value))), int(np.max(np.asarray(value))))
        for index in indices:
            check_index(name, index, size, what)
        if counts_tokens(value, real) and concrete(real):
            tokens = int(np.asarray(real).sum(-1).min())
            for index in indices:
                if not -tokens <= index < tokens:
                    raise IndexError(
                        f"{what}: {name} {index} is out of range: with a mask, ints count the real "
                        f"tokens of each prompt, and the shortest has {tokens}. Columns of the "
                        f"padded array are chosen by a boolean mask, or by ints per example."
                    )


def as_selector(value: Any) -> Any:
    """Ints or a mask as an array leaf; NumPy's 64-bit ints are of no use to JAX."""
    if isinstance(value, jax.Array):
        return value
    leaf = np.asarray(value)
    return leaf.astype(np.int32) if leaf.dtype == np.int64 else leaf
