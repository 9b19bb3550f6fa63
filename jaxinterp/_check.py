"""Bad input, caught before anything runs: JAX would clamp it silently or fail far from the cause.

Values are checked when they are concrete; under `jit` and `vmap` only shapes can be.
"""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._mesh import on_auto_axes
from ._positions import counts_tokens

Shapes = dict[str, jax.ShapeDtypeStruct]
"""The sites of a model with their shapes, without a layer axis."""


def concrete(value: Any) -> bool:
    """Whether a value can be looked at: not while it is traced."""
    return not isinstance(value, Tracer)


def as_tokens(tokens: Any) -> Any:
    """Token ids as int32, or embeddings, of whatever holds them: lists, NumPy, JAX, PyTorch.

    What a tokenizer takes, or returns in two parts, is refused.
    """
    if (
        isinstance(tokens, tuple)
        and len(tokens) == 2
        and str(getattr(tokens[1], "dtype", "")) == "bool"
    ):
        raise ValueError(
            "This is a pair, the tokens and the mask of several texts; the model takes them apart: "
            "tokens, mask = tokenizer(texts); ji.run(model, tokens, mask=mask)."
        )
    several = isinstance(tokens, list | tuple)
    given = next((t for t in tokens if isinstance(t, str)), None) if several else tokens
    if isinstance(given, str) or getattr(getattr(tokens, "dtype", None), "kind", "") in ("U", "T"):
        call = "tokens, mask = tokenizer(texts)" if several else "tokenizer('some text')"
        raise ValueError(
            f"Tokens are ints (*batch, pos); got text{f', {given[:30]!r}' if isinstance(given, str) else ''}. "
            f"Tokenize it first: {call}."
        )
    try:
        tokens = as_array(tokens)
    except ValueError as error:
        if not several:
            raise
        raise ValueError(
            "Prompts of different lengths are padded to one length, and a mask says which tokens are "
            "real: tokens, mask = tokenizer(texts), or pad the lists; ji.run(model, tokens, mask=mask)."
        ) from error
    if several and not tokens.size:
        tokens = tokens.astype(np.int32)  # NumPy takes an empty list for floats
    if jnp.issubdtype(tokens.dtype, jnp.integer):
        return jnp.asarray(as_int32(tokens, "A token id"))
    # What is no number stays as it is, for `check_tokens` to say so.
    return tokens if tokens.dtype.kind in "OSU" else jnp.asarray(tokens)


def check_tokens(tokens: Any, config: Any, extra: int = 0) -> None:
    """Tokens `(*batch, pos)` of ints, or embeddings `(*batch, pos, d)`."""
    soft = jnp.issubdtype(tokens.dtype, jnp.floating)
    if not soft and not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"Tokens are ints (*batch, pos), or embeddings (*batch, pos, d) of floats; got dtype "
            f"{tokens.dtype}. Tokenize text first: ji.run(model, tokenizer('some text'))."
        )
    if not soft and not tokens.ndim:
        raise ValueError(f"Tokens have the axes (*batch, pos), as in [{tokens}]; got one number.")
    if soft and (tokens.ndim < 2 or tokens.shape[-1] != config.d):
        raise ValueError(
            f"Floats in place of tokens are embeddings (*batch, pos, d) with d={config.d}; got the shape "
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
        if counts_tokens(value, real) and concrete(real):
            tokens = int(np.asarray(real).sum(-1).min())
            for index in indices:
                if not -tokens <= index < tokens:
                    raise IndexError(
                        f"{what}: {name} {index} is out of range: with a mask, ints count the real "
                        f"tokens of each prompt, and the shortest has {tokens}. Columns of the "
                        f"padded array are chosen by a boolean mask, or by ints per example."
                    )


def as_selector(value: Any, what: str = "A selector") -> Any:
    """Ints or a mask as an array leaf, ints as int32."""
    value = as_array(value)
    return as_int32(value, what) if jnp.issubdtype(value.dtype, jnp.integer) else value


def as_mask(mask: Any) -> Any:
    """A mask as an array of JAX."""
    return jnp.asarray(as_array(mask))


def as_array(value: Any) -> Any:
    """An array of JAX, on Auto axes of its mesh; anything else as one of NumPy, tensors of PyTorch too."""
    if isinstance(value, jax.Array):
        return on_auto_axes(value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none of its own to receive it
            return np.asarray(value.float()).astype(jnp.bfloat16)
    return np.asarray(value)


def as_int32(value: Any, what: str) -> Any:
    """Ints as int32, the kind that selects and counts; those that do not fit raise, not wrap."""
    value = as_array(value)
    if value.dtype == np.int32:
        return value
    if value.size and not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{what} is an int; got dtype {value.dtype}.")
    least, most = -(2**31), 2**31 - 1
    if concrete(value):
        held = np.asarray(value)
        if held.size and not (least <= int(held.min()) and int(held.max()) <= most):
            wrong = int(held.max()) if int(held.max()) > most else int(held.min())
            raise IndexError(f"{what} is an int of at most 32 bits; got {wrong}.")
        return held.astype(np.int32) if isinstance(value, np.ndarray) else value.astype(np.int32)
    held = jnp.iinfo(value.dtype)
    if held.max > most:  # traced: what lies outside stays outside of every axis
        value = jnp.clip(value, max(held.min, least), most)
    return value.astype(np.int32)


def is_int(value: Any) -> bool:
    """Whether a value is one int of Python, NumPy or JAX; bools, floats, text and tracers are none."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.dtype(bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def as_int(value: Any, what: str, least: int | None = None) -> int:
    """A Python int of what `is_int`."""
    if not concrete(value):
        raise ValueError(
            f"{what} decides what is compiled, so it cannot be traced: make it static."
        )
    if not is_int(value):
        raise ValueError(f"{what} is an int; got {value!r} of type {type(value).__name__}.")
    number = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{what} is an int of {least} or more; got {number}.")
    return number


def check_key(key: Any, call: str) -> Any:
    """A key of `jax.random.key`, or of the older `PRNGKey`; an int is none. `call` shows where it goes."""
    array = isinstance(key, jax.Array | np.ndarray)
    typed = array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not typed and not (array and key.dtype == np.uint32 and key.ndim == 1):
        seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
        raise ValueError(
            f"Randomness comes from a key, and {key!r} is none: {call.format(f'jax.random.key({seed})')}."
        )
    return key
