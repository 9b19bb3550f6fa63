"""How the next token is chosen from logits: the likeliest, sampled, or by a function of the caller."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._arguments import (
    as_array,
    as_int,
    as_int32,
    check_function,
    check_key,
    concrete,
    holds_numbers,
    kind_of,
)
from .._text import shown
from ._top import top_of_rows


class Sampler(eqx.Module):
    """The options of sampling, checked; values of `temperature`, `top_p` and `stop` are leaves.

    - `temperature`: None takes the likeliest token.
    - `choose`: a function of a key and logits to tokens, in place of the other options.
    - `stop`: the tokens that end a text, int32 `(n,)`, or None.
    """

    temperature: Any
    top_p: Any
    stop: Any
    top_k: int | None = eqx.field(static=True)
    choose: Any

    def pick(
        self, key: Any, logits: Float[Array, "*batch vocab"], ended: Int[Array, "*batch"]
    ) -> tuple[Int[Array, "*batch"], Int[Array, "*batch"], Bool[Array, ""]]:
        """The next tokens, what ended each text (-1: nothing yet), and whether the logits are numbers."""
        if self.choose is None:
            token = sample(key, logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        else:
            token = self.choose(key, logits)
            dtype, shape = getattr(token, "dtype", None), getattr(token, "shape", None)
            if dtype is None or shape != logits.shape[:-1] or not jnp.issubdtype(dtype, jnp.integer):
                raise ValueError(
                    f"choose returns one token id for each row of logits, ints {logits.shape[:-1]}; "
                    f"it returned {kind_of(token) if dtype is None else f'{dtype} {shape}'}."
                )
            token = jnp.asarray(token).astype(jnp.int32)
        if self.stop is not None:
            token = jnp.where(ended >= 0, ended, token)
            ends = (token[..., None] == self.stop.reshape((1,) * token.ndim + (-1,))).any(-1)
            ended = jnp.where(ends, token, ended)
        # The largest of NaN is NaN, which is above nothing.
        return token, ended, (logits.max(-1) > -jnp.inf).all()


def make_sampler(
    vocab: int, key: Any, *, temperature: Any, top_k: Any, top_p: Any, stop: Any, choose: Any
) -> tuple[Any, Sampler]:
    """A key, and the checked options; without a key the likeliest token is taken."""
    if choose is not None:
        call = "ji.generate(..., choose=lambda key, logits: logits.argmax(-1))"
        check_function(choose, "choose", ("key", "logits"), call)
    if top_k is not None and not 1 <= (top_k := as_int(top_k, "top_k")) <= vocab:
        raise ValueError(f"top_k lies in 1..{vocab}, the size of the vocabulary; got {top_k}.")
    above = "above 0 (for the likeliest token leave key=None)"
    temperature = _option("temperature", temperature, np.inf, above)
    top_p = _option("top_p", top_p, 1.0, "in (0, 1]")
    stop = None if stop is None else _stops(stop, vocab)
    if choose is not None:
        temperature = top_p = top_k = None
    elif key is None:
        if (top_k, top_p) != (None, None):
            raise ValueError("Sampling needs a key: ji.generate(..., key=jax.random.key(0)).")
        temperature = None
    key = jax.random.key(0) if key is None else check_key(key, "ji.generate(..., key={})")
    return key, Sampler(temperature, top_p, stop, top_k, choose)


def _option(name: str, value: Any, most: float, limit: str) -> Any:
    """A number as a leaf, in full precision until it meets the logits."""
    if value is None:
        return None
    leaf = as_array(value, name)
    if leaf.shape or not holds_numbers(leaf):
        raise ValueError(f"{name} is one number; got {shown(value)}.")
    leaf = leaf.astype(np.float64) if isinstance(leaf, np.ndarray) else leaf
    if concrete(leaf) and not ((np.asarray(leaf) > 0) & (np.asarray(leaf) <= most)).all():
        raise ValueError(f"{name} must be {limit}; got {value}.")
    return leaf


def _stops(stop: Any, vocab: int) -> Any:
    """The tokens that end a text, int32 `(n,)`."""
    ids = as_array(stop)
    if ids.ndim > 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"stop is a token id or several, ints (n,); got {stop!r}.")
    ids = as_int32(ids.reshape(-1), "stop")
    if concrete(ids) and not ((np.asarray(ids) >= 0) & (np.asarray(ids) < vocab)).all():
        raise IndexError(f"stop is a token id in 0..{vocab - 1}, or several; got {stop}.")
    return ids


def sample(
    key: Any,
    logits: Float[Array, "*batch vocab"],
    *,
    temperature: Any = None,
    top_k: int | None = None,
    top_p: Any = None,
) -> Int[Array, "*batch"]:
    r"""$t \sim \mathrm{softmax}(\text{logits} / T)$ among the likeliest tokens; the likeliest if $T$ is None.

    `top_k` acts before `top_p` (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751). Ties at
    the edge of `top_k` all stay.
    """
    if temperature is None:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    wide = np.promote_types(logits.dtype, np.float32)
    logits = logits.astype(wide) / jnp.asarray(temperature).astype(wide)
    if top_k is not None:
        least = top_of_rows(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if top_p is not None:
        ordered = jnp.flip(jnp.sort(logits, axis=-1), -1)
        share = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(share, axis=-1) - share
        least = jnp.where(before < jnp.asarray(top_p).astype(wide), ordered, jnp.inf).min(-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)
