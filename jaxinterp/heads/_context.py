"""How much a model learns in its context."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core._check import as_tokens, check_predicts_tokens, check_tokens
from ..core._intervene import config_of
from ..core._run import run
from ._prompts import repeated_tokens


def icl_score(
    model: Any, tokens: Any, *, early: int = 50, late: int = 500, sign: int = 1
) -> Float[Array, ""]:
    r"""$\bar\ell_{\text{late}} - \bar\ell_{\text{early}}$ in nats: **negative** when context helps.

    The loss of token number `late` minus that of token number `early` of a text, counted from 0,
    averaged over texts. Olsson et al. 2022 (https://arxiv.org/abs/2209.11895) find about -0.4 for
    models of any size. Some accounts subtract the other way round: `sign=-1`.

    **Arguments:** `tokens` `(*batch, pos)`, real text, more than `late` tokens of it; `early`, `late`:
    token numbers, from 1 on; `sign`.

    **Returns:** a scalar, float32 at least. Two positions are unembedded.

    ```python
    ji.heads.icl_score(model, texts, early=50, late=250)    # texts: (batch, pos), pos > 250
    ```

    Law: `sign=-1` is its negative; on `repeated_tokens`, late in the second round against early in the
    first, an induction model is strongly negative.
    """
    tokens = as_tokens(tokens)
    check_tokens(tokens, config_of(model))
    check_predicts_tokens(config_of(model), "icl_score compares losses of next tokens")
    size = tokens.shape[-1]
    if not 1 <= early < late < size:
        raise ValueError(
            f"The loss of token {late} minus that of token {early} needs 1 <= early < late < {size}, "
            f"the length of these texts; got early={early}, late={late}. Give longer texts, or a "
            "smaller late=."
        )
    if sign not in (1, -1):
        raise ValueError(f"sign is 1 (late minus early) or -1; got {sign}.")
    return sign * _difference(model, tokens.reshape(-1, size), jnp.asarray([early, late], jnp.int32))


@eqx.filter_jit
def _difference(model: Any, tokens: Array, which: Array) -> Array:
    logits, _ = run(model, tokens, logits=which - 1)
    losses = _nats(logits, jnp.take(tokens, which, axis=1)).mean(0)
    return losses[1] - losses[0]


def repeat_losses(model: Any, key: Any, *, bos: int | None = None, **prompts: Any) -> Float[Array, " round"]:
    r"""$\bar\ell_1, \bar\ell_2, \ldots$ in nats: the mean loss of each round of random tokens that come again.

    The first round cannot be foretold (a uniform guess costs $\log V$); of the others all but the
    first token can, by induction alone.

    **Arguments:** `key`, and those of `repeated_tokens`.

    **Returns:** the mean loss of each round, without its first token, (round,).

    ```python
    first, second = ji.heads.repeat_losses(model, jax.random.key(0))
    ```

    Law: the second round's is below 0.01 for the planted circuit.
    """
    check_predicts_tokens(config_of(model), "repeat_losses are of next tokens")
    tokens = repeated_tokens(key, config_of(model), bos=bos, **prompts)
    rounds = prompts.get("repeats", 2)
    return _rounds(model, tokens, rounds, bos is not None)


@eqx.filter_jit
def _rounds(model: Any, tokens: Array, rounds: int, bos: bool) -> Array:
    logits, _ = run(model, tokens)
    losses = _nats(logits[:, :-1], tokens[:, 1:]).mean(0)
    losses = jnp.pad(losses, (1, 0))[int(bos) :]
    return losses.reshape(rounds, -1)[:, 1:].mean(1)


def _nats(logits: Array, ids: Array) -> Array:
    wide = logits.astype(np.promote_types(logits.dtype, np.float32))
    logprobs = jax.nn.log_softmax(wide)
    return -jnp.take_along_axis(logprobs, ids[..., None], -1)[..., 0]
