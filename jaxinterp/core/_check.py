"""Bad input, caught before anything runs: JAX would clamp it silently or fail far from the cause.

Values are checked when they are concrete; under `jit` and `vmap` only shapes can be.
"""

import logging
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._arguments import as_array as as_array
from .._arguments import as_bool as as_bool
from .._arguments import as_floats as as_floats
from .._arguments import as_int as as_int
from .._arguments import as_int32 as as_int32
from .._arguments import as_list as as_list
from .._arguments import as_mask as as_mask
from .._arguments import as_number as as_number
from .._arguments import as_numbers as as_numbers
from .._arguments import as_selector as as_selector
from .._arguments import check_choice as check_choice
from .._arguments import check_function as check_function
from .._arguments import check_key as check_key
from .._arguments import concrete as concrete
from .._arguments import holds_numbers as holds_numbers
from .._arguments import is_int as is_int
from .._arguments import kind_of as kind_of
from .._text import shown as shown
from ._positions import counts_tokens
from ._types import Model

Shapes = dict[str, jax.ShapeDtypeStruct]
"""The sites of a model with their shapes, without a layer axis."""


def token_shape(tokens: Any) -> tuple[int, ...]:
    """`(*batch, pos)` of checked token ids or embeddings."""
    return tokens.shape[:-1] if jnp.issubdtype(tokens.dtype, jnp.floating) else tokens.shape


def as_tokens(tokens: Any) -> Any:
    """Token ids as int32, or embeddings, of whatever holds them: lists, NumPy, JAX, PyTorch.

    What a tokenizer takes, or returns in two parts, is refused.
    """
    if isinstance(tokens, tuple) and len(tokens) == 2 and str(getattr(tokens[1], "dtype", "")) == "bool":
        raise ValueError(
            "This is a pair, the tokens and the mask of several texts; the model takes them apart: "
            "tokens, mask = tokenizer(texts); ji.run(model, tokens, mask=mask)."
        )
    several = isinstance(tokens, list | tuple)
    text = next((t for t in tokens if isinstance(t, str)), None) if several else tokens
    if isinstance(text, str) or getattr(getattr(tokens, "dtype", None), "kind", "") in ("U", "T"):
        call = "tokens, mask = tokenizer(texts)" if several else "tokenizer('some text')"
        raise ValueError(
            f"Tokens are ints (*batch, pos); got text{f', {text[:30]!r}' if isinstance(text, str) else ''}. "
            f"Tokenize text first: {call}."
        )
    if not hasattr(tokens, "dtype") and isinstance(tokens, Mapping | eqx.Module):
        raise ValueError(
            f"Tokens are ints (*batch, pos); got {kind_of(tokens)}. The model comes first, then the "
            "tokens: ji.run(model, tokenizer('some text'))."
        )
    tokens = as_array(tokens, "Tokens")
    if several and not tokens.size:
        tokens = tokens.astype(np.int32)  # NumPy takes an empty list for floats
    if jnp.issubdtype(tokens.dtype, jnp.integer):
        return jnp.asarray(as_int32(tokens, "A token id"))
    if not holds_numbers(tokens):
        raise no_tokens(tokens.dtype)
    return jnp.asarray(tokens)


def no_tokens(dtype: Any) -> ValueError:
    """The error for what is neither ids nor embeddings."""
    return ValueError(
        f"Tokens are ints (*batch, pos), or embeddings (*batch, pos, d) of floats; got dtype {dtype}. "
        "Tokenize text first: ji.run(model, tokenizer('some text'))."
    )


def check_tokens(tokens: Any, config: Any, extra: int = 0) -> None:
    """Tokens `(*batch, pos)` of ints, or embeddings `(*batch, pos, d)`."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    if not soft and not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise no_tokens(tokens.dtype)
    if not soft and not tokens.ndim:
        raise ValueError(f"Tokens have the axes (*batch, pos), as in [{tokens}]; got one number.")
    if soft and (tokens.ndim < 2 or tokens.shape[-1] != config.d):
        raise ValueError(
            f"Floats in place of tokens are embeddings (*batch, pos, d) with d={config.d}; got the shape "
            f"{tokens.shape}. Token ids are ints: tokens.astype(jnp.int32)."
        )
    pos = token_shape(tokens)[-1]
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


def logit_count(config: Any) -> int:
    """How many logits a position has: one for each token, or `config.vocab_out` of them."""
    own = getattr(config, "vocab_out", None)
    return config.vocab if own is None else own


def check_predicts_tokens(config: Any, what: str) -> None:
    """Logits are those of tokens: not so where a model's output has a width of its own."""
    if logit_count(config) != config.vocab:
        raise ValueError(
            f"{what}; this model reads {config.vocab} tokens and has {logit_count(config)} logits "
            "(config.vocab_out), which stand for something else."
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
            f"A mask is of bools, True at real tokens; got dtype {mask.dtype}. Convert it: mask.astype(bool)."
        )
    if concrete(mask) and not np.asarray(mask).any(-1).all():
        empty = np.argwhere(~np.asarray(mask).any(-1))[0]
        place = f" {', '.join(map(str, empty))}" if len(empty) else ""
        raise ValueError(
            f"A mask must leave every prompt at least one real token; prompt{place} has none. Drop such "
            "prompts: rows = mask.any(-1); tokens[rows], mask[rows]."
        )


def as_padding(mask: Any, shape: tuple[int, ...]) -> Any:
    """The padding mask of prompts `(*batch, pos)`, checked, or None."""
    if mask is not None:
        mask = as_mask(mask)
        check_mask(mask, shape)
    return mask


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
            raise ValueError(f"{what}: a mask for {name} has the shape {(size,)}{also}; got {value.shape}.")
        return
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{what}: {name} selects by ints or by a mask; got dtype {value.dtype}.")
    if value.ndim > 1 and value.shape[:-1] != per_example:
        raise ValueError(
            f"{what}: {name} is an int, ints (n,), or ints per example {(*per_example, 'n')}; "
            f"got the shape {value.shape}."
        )
    if concrete(value) and value.size:
        indices = (int(np.min(np.asarray(value))), int(np.max(np.asarray(value))))
        for index in indices:
            check_index(name, index, size, what)
        if counts_tokens(value, real) and concrete(real) and real.size:
            tokens = int(np.asarray(real).sum(-1).min())
            for index in indices:
                if not -tokens <= index < tokens:
                    raise IndexError(
                        f"{what}: {name} {index} is out of range: with a mask, ints count the real "
                        f"tokens of each prompt, and the shortest has {tokens}. Columns of the "
                        f"padded array are chosen by a boolean mask, or by ints per example."
                    )


def check_model(model: Any) -> None:
    """Raises where a value is no module of the protocol `Model`."""
    if isinstance(model, Model) and not isinstance(model, type):
        return
    if isinstance(model, tuple) and model and isinstance(model[0], Model):
        raise ValueError(
            "ji.load returns a pair, and the model is its first half: model, tokenizer = ji.load(name); "
            "ji.run(model, tokens)."
        )
    if isinstance(model, str):
        raise ValueError(f"A model is loaded by its name first: model, tokenizer = ji.load({model!r}).")
    raise ValueError(
        f"A model comes first: a module of ji.load, ji.models or the protocol ji.Model, with config, blocks, "
        f"embed, tables and unembed; got {kind_of(model)}. Write ji.run(model, tokens)."
    )


def error_if(x: Array, wrong: Array, sentence: str) -> Array:
    """`x`, or an error while the program runs. The sentence is logged first: JAX puts pages around it."""

    def log(wrong: Any) -> Any:
        if np.any(wrong):
            logging.getLogger("jaxinterp").error("%s", sentence)
        return wrong

    scalar = jax.ShapeDtypeStruct((), bool)
    wrong = jax.pure_callback(log, scalar, wrong.any(), vmap_method="expand_dims")
    return eqx.error_if(x, wrong, sentence)
