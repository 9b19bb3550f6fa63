"""Generation: one pass over the prompt, then one position at a time against remembered keys and values."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from .._arguments import as_int, concrete
from .._waiting import finished, waiting
from ..mesh._gather import on_mesh
from ..typing import (
    EditsLike,
    FloatLike,
    FunctionLike,
    IndexLike,
    IntLike,
    KeyLike,
    MaskLike,
    ModelLike,
    TokensLike,
)
from ._blocks import shared_context
from ._check import as_tokens, check_predicts_tokens
from ._engine import Engine
from ._intervene import config_of
from ._positions import ordinals
from ._request import Request, make_request
from ._sampling import Sampler, make_sampler
from ._types import Reads


def generate(
    model: ModelLike,
    tokens: TokensLike,
    steps: IntLike,
    *,
    key: KeyLike | None = None,
    temperature: FloatLike = 1.0,
    top_k: IntLike | None = None,
    top_p: FloatLike | None = None,
    edits: EditsLike | None = (),
    mask: MaskLike | None = None,
    stop: IndexLike | None = None,
    choose: FunctionLike | None = None,
) -> Int[Array, "*batch total"]:
    r"""$t_{n+1} \sim \mathrm{softmax}(\text{logits}(t_{\le n}) / T)$: continues prompts.

    Keys and values are remembered, and edits stay active. The positions of an edit are positions of the
    prompt (negative ones count from its end). An edit without positions acts at every step. A
    function of `ji.map` then gets one position at a time; `with_positions=True` also gives it the position.

    **Arguments:**

    - `model`, `tokens`, `edits`, `mask`: as in `run`. Prompts of different lengths are padded left
      or right, and each continues as if it were alone.
    - `steps`: how many tokens to add. All but the last are read, and must fit the model's context.
    - `key`: a `jax.random.key` to sample with; None takes the likeliest token each time.
    - `temperature`: divides the logits.
    - `top_k`: samples among the k likeliest tokens.
    - `top_p`: samples among the smallest set of tokens whose probability reaches p.
    - `stop`: a token that ends a text, such as `tokenizer.eos_id`, or several such tokens. The token is repeated
      up to the last step.
    - `choose`: a function of a key and logits to tokens, in place of all sampling options.

    Other values of `temperature`, `top_p` and `stop` do not compile the program again.

    **Returns:** int32 `(*batch, pos + steps)`, with the prompts. Padding stays where it was.

    **Raises** `ValueError` where logits are NaN, because then no token is the likeliest. Under `jit`
    or `vmap` the logits are traced, and this is not checked.

    ```python
    text = tokenizer.decode(ji.generate(model, tokenizer("Once upon"), 20, key=jax.random.key(0)))
    ```

    Law: equal to calling `run` on the growing text and choosing from its last logits.
    """
    config = config_of(model)
    ids = as_tokens(tokens)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"generate continues token ids (*batch, pos); got dtype {ids.dtype}.")
    steps = as_int(steps, "steps")
    if steps < 0:
        raise ValueError(f"steps is how many tokens to add, 0 or more; got {steps}.")
    if not config.causal:
        raise ValueError("Only a causal model can generate; this one has config.causal=False.")
    # The last token is chosen and never read.
    request = make_request(model, ids, edits=edits, mask=mask, remat=False, more=max(steps - 1, 0))
    if choose is None:
        check_predicts_tokens(config, "generate reads its answers as tokens, or as choose= translates them")
    key, sampler = make_sampler(
        config.vocab, key, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop, choose=choose
    )
    with waiting(f"generate {steps} tokens: compiling and running"):
        text, finite = finished(_generate(request, steps, key, sampler))
    if concrete(finite) and not bool(finite):
        shown = "ji.run(model, tokens, capture=['resid_post']) shows the layer where NaN begins."
        raise ValueError(
            f"The logits are NaN, so no token is the likeliest. Are all weights finite, and what edits put in? {shown}"
        )
    return text


@on_mesh
@eqx.filter_jit
def _generate(
    request: Request, steps: int, key: Any, sampler: Sampler
) -> tuple[Int[Array, "*batch total"], Bool[Array, ""]]:
    model, tokens, mask = request.model, request.inputs, request.mask
    *batch, prompt = tokens.shape
    if steps == 0:
        return tokens, jnp.asarray(True)
    # Nobody reads the token chosen last: the memory ends before it.
    total = prompt + steps - 1
    in_prompt = jnp.ones(tokens.shape, bool) if mask is None else mask
    real = jnp.concatenate([in_prompt, jnp.ones((*batch, steps - 1), bool)], axis=-1)
    positions = jnp.maximum(ordinals(real), 0)

    def forward(tokens: Array, memory: Any, start: Any, last: Array) -> Any:
        """The columns from `start` on: logits at `last`, and all keys and values so far."""
        here = lax.dynamic_slice_in_dim(positions, start, tokens.shape[-1], axis=-1)
        step = dataclasses.replace(request, inputs=tokens, mask=None if mask is None else real)
        engine = Engine(step, offset=start, columns=prompt, memory=memory)
        resid = model.embed(tokens, here, engine.ends)
        # The prompt attends within itself, as in `run`; its keys and values begin the memory.
        keys = prompt if isinstance(start, int) else total
        padded = None if mask is None else real[..., :keys]
        reads = Reads(tokens.shape[-1], keys, causal=True, first=start, real=padded)
        resid = engine.run_blocks(resid, shared_context(reads, model.tables(here)), 0, engine.count)
        return engine.unembed(resid, last).squeeze(-2), engine.memory

    columns = jnp.broadcast_to(jnp.arange(prompt, dtype=jnp.int32), tokens.shape)
    last = jnp.where(in_prompt, columns, 0).max(-1, keepdims=True)
    logits, memory = forward(tokens, _empty_memory(request, total), 0, last)

    def step(carry: Any, inputs: Any) -> Any:
        logits, memory, ended = carry
        column, key = inputs
        token, ended, finite = sampler.pick(key, logits, ended)
        first = jnp.zeros((*batch, 1), jnp.int32)
        logits, memory = forward(token[..., None], memory, column, first)
        return (logits, memory, ended), (token, finite)

    columns = jnp.arange(prompt, total, dtype=jnp.int32)
    keys = jax.random.split(key, steps)
    # `ended` holds the token that ended a text, and -1 until then.
    carry = (logits, memory, jnp.full(batch, -1, jnp.int32))
    (logits, _, ended), (new, finite) = lax.scan(step, carry, (columns, keys[:-1]))
    end, _, last_finite = sampler.pick(keys[-1], logits, ended)
    text = jnp.concatenate([tokens, jnp.moveaxis(new, 0, -1), end[..., None]], axis=-1)
    return text, finite.all() & last_finite


def _empty_memory(request: Request, total: int) -> tuple[Array, ...]:
    """Room for keys and values of `total` positions, `(layer, *batch, pos, kv_head * k)` each.

    Heads lie side by side: alone, each would leave a part of a TPU's rows of 128 empty.
    """
    shapes = [request.shapes()[site] for site in ("k", "v")]
    sizes = [(request.count, *s.shape[:-3], total, s.shape[-2] * s.shape[-1]) for s in shapes]
    return tuple(jnp.zeros(size, s.dtype) for size, s in zip(sizes, shapes, strict=True))
