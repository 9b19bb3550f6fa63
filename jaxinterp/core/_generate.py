"""Generation: one prompt pass, then one position at a time against remembered keys and values."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ._check import (
    as_array,
    as_int,
    as_int32,
    as_mask,
    as_tokens,
    check_function,
    check_key,
    check_mask,
    check_predicts_tokens,
    check_tokens,
    concrete,
    holds_numbers,
    kind_of,
    shown,
)
from ._edit import Edit, resolve_edits
from ._engine import Engine
from ._positions import ordinals
from ._survey import gather_edits, layer_count, shared_context, survey


def generate(
    model: Any,
    tokens: Int[Array, "*batch pos"] | Any,
    steps: int | Any,
    *,
    key: Any = None,
    temperature: float | Any = 1.0,
    top_k: int | Any | None = None,
    top_p: float | Any | None = None,
    edits: Edit | Sequence[Any] | Any | None = (),
    mask: Bool[Array, "*batch pos"] | Any | None = None,
    stop: int | Sequence[int] | Any | None = None,
    choose: Callable[[Array, Float[Array, "*batch vocab"]], Int[Array, "*batch"]] | Any | None = None,
) -> Int[Array, "*batch total"]:
    r"""$t_{n+1} \sim \mathrm{softmax}(\text{logits}(t_{\le n}) / T)$: continues prompts.

    Keys and values are remembered, and edits stay on: what an edit addresses by position belongs
    to the prompt (negative positions count from its end), what it leaves open acts at every step.
    There the function of `ji.map` sees one position at a time; `with_positions=True` says which.

    **Arguments:**

    - `model`, `tokens`, `edits`, `mask`: as in `run`; prompts of different lengths are padded left
      or right, and each continues as if it were alone.
    - `steps`: how many tokens to add; all but the last are read, and must fit the model's context.
    - `key`: a `jax.random.key` to sample with; None takes the likeliest token each time.
    - `temperature`: divides the logits; `top_k` keeps the k likeliest tokens, `top_p` the smallest
      set whose probability reaches p. Values of `temperature` and `top_p` never recompile.
    - `stop`: a token (such as `tokenizer.eos_id`) that ends a text, or several, of which any does:
      the one that came is repeated from there on. Values never recompile.
    - `choose`: in place of all sampling options, a function of a key and logits to tokens.

    **Returns:** int32 `(*batch, pos + steps)`, prompts included; padding stays where it was.

    **Raises** `ValueError` where logits are NaN, which no token follows from: unless traced (under
    `jit` or `vmap`), where nothing can be looked at.

    ```python
    text = tokenizer.decode(ji.generate(model, tokenizer("Once upon"), 20, key=jax.random.key(0)))
    ```

    Law: equal to calling `run` on the growing text and choosing from its last logits.
    """
    model, own, asked = gather_edits(model, edits)
    edits = own + asked
    tokens = as_tokens(tokens)
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(f"generate continues token ids (*batch, pos); got dtype {tokens.dtype}.")
    steps = as_int(steps, "steps")
    if steps < 0:
        raise ValueError(f"steps is how many tokens to add, 0 or more; got {steps}.")
    if not model.config.causal:
        raise ValueError("Only a causal model can generate; this one has config.causal=False.")
    # The last token is chosen and never read.
    check_tokens(tokens, model.config, max(steps - 1, 0))
    if mask is not None:
        mask = as_mask(mask)
        check_mask(mask, tokens.shape)
    if choose is None:
        check_predicts_tokens(
            model.config, "generate reads its own answers as tokens, or as choose= translates them"
        )
    else:
        check_function(
            choose,
            "choose",
            ("key", "logits"),
            "ji.generate(..., choose=lambda key, logits: logits.argmax(-1))",
        )
    vocab = model.config.vocab
    if top_k is not None and not 1 <= (top_k := as_int(top_k, "top_k")) <= vocab:
        raise ValueError(f"top_k lies in 1..{vocab}, the size of the vocabulary; got {top_k}.")
    above = "above 0 (for the likeliest token leave key=None)"
    temperature = _setting("temperature", temperature, np.inf, above)
    top_p = _setting("top_p", top_p, 1.0, "in (0, 1]")
    stops = None if stop is None else _stops(stop, vocab)
    edits = resolve_edits(edits, survey(model, tokens, edits), layer_count(model), real=mask)
    if choose is None:
        if key is None and (top_k, top_p) != (None, None):
            raise ValueError("Sampling needs a key: ji.generate(..., key=jax.random.key(0)).")
        options = (None if key is None else temperature, top_p)
    else:
        options = (None, None)
    key = jax.random.key(0) if key is None else check_key(key, "ji.generate(..., key={})")
    text, sane = _generate(model, tokens, steps, key, options, top_k, edits, mask, stops, choose)
    if concrete(sane) and not bool(sane):
        raise ValueError(
            "The logits are NaN, so there is no likeliest token. Are all weights finite, and what "
            "edits put in? ji.run(model, tokens, capture=['resid_post']) shows the layer it starts at."
        )
    return text


def _setting(name: str, value: Any, most: float, limit: str) -> Any:
    """A sampling option as a leaf, in full precision until it meets the logits."""
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
    r"""$t \sim \mathrm{softmax}(\text{logits} / T)$ among the tokens kept; the likeliest if $T$ is None.

    `top_k` acts before `top_p` (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751). Ties at
    the edge of `top_k` are all kept.
    """
    if temperature is None:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    wide = np.promote_types(logits.dtype, np.float32)
    logits = logits.astype(wide) / jnp.asarray(temperature).astype(wide)
    if top_k is not None:
        least = lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if top_p is not None:
        ordered = jnp.flip(jnp.sort(logits, axis=-1), -1)
        share = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(share, axis=-1) - share
        least = jnp.where(before < jnp.asarray(top_p).astype(wide), ordered, jnp.inf).min(-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


@eqx.filter_jit
def _generate(
    model: Any,
    tokens: Int[Array, "*batch pos"],
    steps: int,
    key: Any,
    options: tuple[Any, Any],
    top_k: int | None,
    edits: tuple[Edit, ...],
    mask: Array | None,
    stop: Array | None,
    choose: Any,
) -> tuple[Int[Array, "*batch total"], Bool[Array, ""]]:
    *batch, prompt = tokens.shape
    if steps == 0:
        return tokens, jnp.asarray(True)
    # The token chosen last is read by nobody: the memory ends before it.
    total = prompt + steps - 1
    given = jnp.ones(tokens.shape, bool) if mask is None else mask
    real = jnp.concatenate([given, jnp.ones((*batch, steps - 1), bool)], axis=-1)
    positions = jnp.maximum(ordinals(real), 0)
    temperature, top_p = options

    def pick(key: Any, logits: Array, ended: Array) -> tuple[Array, Array, Array]:
        if choose is not None:
            token = choose(key, logits)
            dtype, shape = getattr(token, "dtype", None), getattr(token, "shape", None)
            if dtype is None or shape != logits.shape[:-1] or not jnp.issubdtype(dtype, jnp.integer):
                raise ValueError(
                    f"choose returns one token id for each row of logits, ints {logits.shape[:-1]}; "
                    f"it returned {kind_of(token) if dtype is None else f'{dtype} {shape}'}."
                )
            token = jnp.asarray(token).astype(jnp.int32)
        else:
            token = sample(key, logits, temperature=temperature, top_k=top_k, top_p=top_p)
        if stop is not None:
            token = jnp.where(ended >= 0, ended, token)
            stops = (token[..., None] == stop.reshape((1,) * token.ndim + (-1,))).any(-1)
            ended = jnp.where(stops, token, ended)
        # The largest of NaN is NaN, which is above nothing.
        return token, ended, (logits.max(-1) > -jnp.inf).all()

    def forward(tokens: Array, memory: Any, start: Any, allowed: Array, last: Array) -> Any:
        """The columns from `start` on: logits at `last`, and all keys and values so far."""
        here = lax.dynamic_slice_in_dim(positions, start, tokens.shape[-1], axis=-1)
        shapes = survey(model, tokens, edits)
        engine = Engine(
            model,
            edits,
            (),
            None if mask is None else real,
            shapes,
            offset=start,
            columns=prompt,
            memory=memory,
        )
        resid = model.embed(tokens, here, engine.tap_at_ends())
        resid = engine.blocks(resid, shared_context(allowed, model.tables(here)), 0, engine.count)
        return engine.unembed(resid, last).squeeze(-2), engine.memory

    # The prompt attends within itself, as in `run`; its keys and values then head the memory.
    inside = jnp.broadcast_to(given[..., None, :], (*batch, prompt, prompt))
    inside = inside & jnp.broadcast_to(jnp.tril(jnp.ones((prompt, prompt), bool)), inside.shape)
    columns = jnp.broadcast_to(jnp.arange(prompt, dtype=jnp.int32), tokens.shape)
    last = jnp.where(given, columns, 0).max(-1, keepdims=True)
    logits, memory = forward(tokens, _empty_memory(model, tokens, edits), 0, inside, last)
    padding = [(0, 0)] * (memory[0].ndim - 3) + [(0, steps - 1), (0, 0), (0, 0)]
    memory = jax.tree.map(lambda kept: jnp.pad(kept, padding), memory)

    def step(carry: Any, inputs: Any) -> Any:
        logits, memory, ended = carry
        column, key = inputs
        token, ended, sane = pick(key, logits, ended)
        seen = jnp.arange(total, dtype=jnp.int32) <= column
        allowed = real & jnp.broadcast_to(seen, real.shape)
        first = jnp.zeros((*batch, 1), jnp.int32)
        logits, memory = forward(token[..., None], memory, column, allowed[..., None, :], first)
        return (logits, memory, ended), (token, sane)

    columns = jnp.arange(prompt, total, dtype=jnp.int32)
    keys = jax.random.split(key, steps)
    # `ended` holds the token that ended a text, and -1 until then.
    carry = (logits, memory, jnp.full(batch, -1, jnp.int32))
    (logits, _, ended), (new, sane) = lax.scan(step, carry, (columns, keys[:-1]))
    end, _, last_sane = pick(keys[-1], logits, ended)
    text = jnp.concatenate([tokens, jnp.moveaxis(new, 0, -1), end[..., None]], axis=-1)
    return text, sane.all() & last_sane


def _empty_memory(model: Any, tokens: Array, edits: Any) -> tuple[Array, Array]:
    """Room for keys and values of a prompt, `(layer, *batch, pos, kv_head, k)` each."""
    shapes = survey(model, tokens, edits)
    layers = layer_count(model)
    k, v = (jnp.zeros((layers, *shapes[site].shape), shapes[site].dtype) for site in ("k", "v"))
    return k, v
